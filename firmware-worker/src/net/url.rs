//! What a server URL says: transport, host, port. Errors never quote the query, which may hold a token, or a password.

use tokio_tungstenite::tungstenite::http::Uri;

/// A URL taken apart as far as a connection needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// TLS.
    pub secure: bool,
    /// Host without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Without path and query: what errors and logs show.
    pub shown: String,
    /// Complete, with scheme `ws` or `wss`.
    pub full: String,
    /// Host and port as written.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// Host and port of a `ws`, `wss`, `http` or `https` URL, for the resolver.
pub fn host_and_port(url: &str) -> Result<(String, u16), String> {
    Target::parse(url).map(|target| (target.host, target.port))
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        let shown = shown(url);
        let uri: Uri = url.parse().map_err(|_| format!("{shown}: not a URL"))?;
        let (scheme, default_port) = match uri.scheme_str() {
            Some("ws" | "http") => ("ws", 80),
            Some("wss" | "https") => ("wss", 443),
            Some(other) => return Err(format!("{shown}: scheme {other:?} is not ws, wss, http or https")),
            None => return Err(format!("{shown}: the scheme is missing (ws:// or wss://)")),
        };
        let authority = uri.authority().ok_or_else(|| format!("{shown}: the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err("the server URL holds a user name or password; LiveKit takes none there".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(format!("{shown}: the host is missing"));
        }
        let port = authority.as_str().trim_start_matches(authority.host()).trim_start_matches(':');
        if !port.is_empty() && authority.port_u16().is_none() {
            return Err(format!("{shown}: the port is no number up to 65535"));
        }
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        Ok(Self {
            secure: scheme == "wss",
            host,
            port: authority.port_u16().unwrap_or(default_port),
            full: format!("{scheme}://{authority}{path}"),
            shown: format!("{scheme}://{authority}"),
            authority: authority.to_string(),
            path: path.to_owned(),
        })
    }
}

/// The same URL for logs: without query, user name and password, even where it is none.
pub fn shown(url: &str) -> String {
    let scheme = url.split_once("://").filter(|(scheme, _)| scheme.bytes().all(|byte| byte.is_ascii_alphabetic()));
    let (scheme, rest) = scheme.map_or((String::new(), url), |(scheme, rest)| (format!("{scheme}://"), rest));
    let (place, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    match (query.contains('@'), place.rsplit_once('@')) {
        // A password may hold either character, and then this was none.
        (true, _) => format!("{scheme}***"),
        (false, Some((_, place))) => format!("{scheme}***@{place}"),
        (false, None) => format!("{scheme}{place}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_follows_the_scheme_unless_written() {
        assert_eq!(host_and_port("wss://a.example/x"), Ok(("a.example".into(), 443)));
        assert_eq!(host_and_port("https://a.example"), Ok(("a.example".into(), 443)));
        assert_eq!(host_and_port("http://a.example"), Ok(("a.example".into(), 80)));
        assert_eq!(host_and_port("ws://127.0.0.1:7880/rtc"), Ok(("127.0.0.1".into(), 7880)));
        assert_eq!(host_and_port("ws://[::1]:7880"), Ok(("::1".into(), 7880)));
    }

    #[test]
    fn http_urls_become_websocket_urls_with_path_and_query() {
        let target = Target::parse("https://a.example/base/rtc?x=1").unwrap();
        assert_eq!(target.full, "wss://a.example/base/rtc?x=1");
        assert_eq!(target.shown, "wss://a.example");
        assert!(target.secure);
    }

    #[test]
    fn a_log_shows_where_a_url_leads_and_no_more() {
        assert_eq!(shown("wss://a.example:7/base?access_token=hidden#x"), "wss://a.example:7/base");
        assert_eq!(shown("https://a.example/pkg@1/x.fwu"), "https://***@1/x.fwu");
        assert_eq!(shown("ws://user:hid^den@a.example/x"), "ws://***@a.example/x");
        assert_eq!(shown("a.example"), "a.example");
    }

    #[test]
    fn refusals_name_the_url_but_never_its_query_or_password() {
        for url in [
            "ftp://h/?access_token=hidden",
            "h/?access_token=hidden",
            "ws://u:hidden@h/",
            "ws:// ?hidden",
            "ws://u:hidden^@h/",
            "ws://u:hidden?^@h/",
            "ws://u:hidden#/^@h/",
            "ws://u:^/hidden@h/",
            "u:hidden@h",
            "u:hidden://^@h",
            "ws://u:hidden?@h/",
        ] {
            let error = host_and_port(url).unwrap_err();
            assert!(!error.contains("hidden"), "{error}");
        }
        assert!(host_and_port("localhost:7880").is_err());
    }
}
