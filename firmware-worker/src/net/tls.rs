//! TLS by rustls with aws-lc-rs.

use protocol::worker::UNLESS_LOGIN;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Bytes of a file of certificates: a system's whole bundle is a quarter of it.
const MAX_CERTIFICATES: u64 = 1024 * 1024;

/// The text of a file of PEM certificates, which [`Tls::new`] takes.
pub fn certificates(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.len() > MAX_CERTIFICATES {
        return Err(io::Error::other("is too long for a list of certificates"));
    }
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(io::Error::other("is not PEM text; export the certificates as that (Base-64)"));
        }
        read => read?,
    };
    if text.trim().is_empty() {
        return Err(io::Error::other("is empty"));
    }
    Tls::new(&text).map(|_| text).map_err(io::Error::other)
}

/// Trust anchors: the built-in roots plus the PEM certificates given.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// `ca_pem` may be empty.
    pub fn new(ca_pem: &str) -> Result<Self, String> {
        // Some editors begin a text with this, and what the first line says would be overlooked.
        let ca_pem = ca_pem.strip_prefix('\u{feff}').unwrap_or(ca_pem);
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
            let certificate = certificate.map_err(|e| format!("extra certificates: not PEM: {e}"))?;
            roots.add(certificate).map_err(|e| format!("extra certificates: one is damaged ({e})"))?;
        }
        if !ca_pem.trim().is_empty() && roots.len() == webpki_roots::TLS_SERVER_ROOTS.len() {
            return Err("extra certificates: no certificate in the PEM text".into());
        }
        Self::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS: {e}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }

    pub(super) async fn handshake(&self, host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failed> {
        let no_name = |_| Failed { why: format!("{host:?} is no host name"), lasts: true };
        let name = ServerName::try_from(host.to_owned()).map_err(no_name)?;
        let connected = TlsConnector::from(self.config.clone()).connect(name, stream).await;
        connected.map_err(|error| Failed { why: in_plain_words(&error), lasts: lasts(&error) })
    }
}

/// A handshake that failed.
#[derive(Debug, PartialEq)]
pub(super) struct Failed {
    /// In plain words.
    pub(super) why: String,
    /// Whether the same server will be refused again: a certificate of somebody else, which no clock makes right.
    pub(super) lasts: bool,
}

fn lasts(error: &io::Error) -> bool {
    use CertificateError::{NotValidForName, NotValidForNameContext, UnknownIssuer};
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::InvalidCertificate(reason)) = tls else { return false };
    matches!(reason, NotValidForName | NotValidForNameContext { .. } | UnknownIssuer)
}

/// Certificate trouble has one of few causes on a board: say which, with the remedy.
fn in_plain_words(error: &io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return error.to_string();
    };
    match tls {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet: this board's clock is probably not set; check its network and time \
                 servers".into()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired, or this board's clock is wrong".into()
            }
            CertificateError::NotValidForName => {
                format!("the server's certificate is for another name: correct the URL, {UNLESS_LOGIN}")
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
                let names = names.join(", ");
                format!("the server's certificate is for another name ({names}): use that in the URL, {UNLESS_LOGIN}")
            }
            CertificateError::UnknownIssuer => format!(
                "the server's certificate is from an unknown authority: if it is a private one, name its file in \
                 server.ca_file, or with --ca-file for an update, {UNLESS_LOGIN}"
            ),
            other => format!("the server's certificate is refused: {other}"),
        },
        rustls::Error::InvalidMessage(_) => {
            format!("the server does not speak TLS on this port (ws:// instead of wss://?), {UNLESS_LOGIN}")
        }
        other => other.to_string(),
    }
}

/// `media.example` of `DnsName("media.example")`, as rustls has it.
fn bare(presented: &str) -> &str {
    let inside = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inside.unwrap_or(presented).trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// The server's name in its certificate.
    const NAME: &str = "media.example";

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A client that trusts `trusted` meets a server named `NAME`, certified by `issuer` for these years, under `host`.
    async fn meet(
        host: &str,
        years: std::ops::Range<i32>,
        issuer: &CertifiedIssuer<'static, KeyPair>,
        trusted: &CertifiedIssuer<'static, KeyPair>,
    ) -> Result<(), Failed> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        let certificate = params.signed_by(&key, issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(trusted.der().clone()).unwrap();
        let tls = Tls::trusting(roots).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let client = async {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            tls.handshake(host, stream).await.map(drop)
        };
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that refuses the certificate says so, which fails here as well.
            let _ = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        };
        tokio::join!(client, server).0
    }

    #[tokio::test]
    async fn a_certificate_that_cannot_be_trusted_is_refused_with_its_reason_and_the_remedy() {
        let (ours, foreign) = (authority("ours"), authority("foreign"));
        assert_eq!(meet(NAME, 2020..2100, &ours, &ours).await, Ok(()));
        let refusal = async |host, years, issuer| meet(host, years, issuer, &ours).await.unwrap_err();
        let name = refusal("wrong.example", 2020..2100, &ours).await;
        assert!(
            name.why.contains("for another name (media.example)") && name.why.contains("wants a login"),
            "{name:?}"
        );
        let early = refusal(NAME, 2090..2100, &ours).await;
        assert!(early.why.contains("not valid yet") && early.why.contains("clock is probably not set"), "{early:?}");
        let late = refusal(NAME, 2000..2001, &ours).await;
        assert!(late.why.contains("expired") && late.why.contains("clock"), "{late:?}");
        let unknown = refusal(NAME, 2020..2100, &foreign).await;
        assert!(
            unknown.why.contains("unknown authority")
                && unknown.why.contains("server.ca_file")
                && unknown.why.contains("wants a login"),
            "{unknown:?}"
        );
        assert_eq!([&name, &early, &late, &unknown].map(|failed| failed.lasts), [true, false, false, true]);
    }

    #[test]
    fn extra_certificates_that_are_none_are_refused() {
        assert!(Tls::new("").is_ok());
        assert!(Tls::new("hello").is_err());
        assert!(Tls::new("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").is_err());
    }
}
