//! `token`: a worker token, made where the API secret may be.

use super::arguments::Settings;
use super::{config_file, configuration_error, exit, since_1970, variables};
use crate::config::{self, Credentials};
use protocol::secret::Secret;
use protocol::token::{Grant, mint};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub(super) fn print(settings: Settings, ttl: Duration, output: Option<&Path>) -> ExitCode {
    let file = config_file(settings.config.as_deref());
    let token = match config::credentials(settings.written(), &variables(file.as_deref()), file.as_deref()) {
        Ok(Credentials::Key { key, secret }) => mint(&key, &secret, &Grant::Worker, since_1970(), ttl),
        Ok(Credentials::Token(_) | Credentials::TokenFile(_)) => {
            eprintln!("firmware-worker: a token cannot make another one; give API key and secret instead of a token");
            return exit::CONFIGURATION.into();
        }
        Err(error) => return configuration_error(&error),
    };
    let written = match output {
        Some(path) => write_new(path, &token).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{}: it is there already; remove it or name another", path.display())
            }
            _ => format!("{}: {error}", path.display()),
        }),
        None => writeln!(io::stdout(), "{}", token.expose()).map_err(|error| format!("stdout: {error}")),
    };
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("firmware-worker: cannot write the token to {why}");
            exit::FAILURE.into()
        }
    }
}

/// Never writes into a file that is there: it could be one that others read.
fn write_new(path: &Path, token: &Secret) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{}", token.expose())?;
    file.sync_all()
}
