//! What the server is told to do. One table of settings feeds flags, environment, file, help and docs/tuning.md.
//!
//! `layers` keeps what was typed and where; `table` says what each setting means; `Settings` is what it comes to.

mod layers;
mod table;
pub(crate) mod value;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use layers::{Layers, Source, Typed};
pub(crate) use table::{Preset, SECTIONS, Setting, Shape, Sources, TABLE, find};

use value::{Address, Share};

/// Everything that can be set, checked and with defaults filled in. `None`: decided when the machine is known.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) parity: Option<u8>,
    pub(crate) accept_missing: bool,
    pub(crate) partitions: u16,
    pub(crate) inline_max: u64,
    pub(crate) log_slot: Option<u64>,
    pub(crate) data_slot: Option<u64>,
    pub(crate) suspect_after: Duration,

    pub(crate) address: Address,
    pub(crate) domains: Vec<String>,
    pub(crate) region: String,
    pub(crate) tls_dir: Option<PathBuf>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,

    pub(crate) root_user: Option<String>,
    pub(crate) root_password: Option<String>,
    pub(crate) root_user_file: Option<PathBuf>,
    pub(crate) root_password_file: Option<PathBuf>,
    pub(crate) credentials_file: Option<PathBuf>,
    pub(crate) metrics_token: Option<String>,
    pub(crate) metrics_token_file: Option<PathBuf>,
    pub(crate) metrics_open: bool,

    pub(crate) shards: Option<u16>,
    pub(crate) pin: Vec<usize>,
    pub(crate) memory: Share,
    pub(crate) cache: Share,
    pub(crate) buffers: u64,
    pub(crate) helpers: Option<usize>,

    pub(crate) connections_max: usize,
    pub(crate) requests_max: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) send_timeout: Duration,
    pub(crate) body_window: Duration,
    pub(crate) body_rate_min: u64,
    pub(crate) stop_timeout: Duration,

    pub(crate) log_level: Option<telemetry::Level>,
    pub(crate) config: Option<PathBuf>,
}

impl Settings {
    /// Reads the layers through the table, then fetches secrets from the files that were named.
    ///
    /// Errors: one line that names the flag, variable or key, and what is expected there.
    pub(crate) fn read(layers: &Layers) -> Result<Settings, String> {
        let mut settings = Settings::empty();
        for setting in TABLE {
            let words = match (layers.get(setting.name), setting.default) {
                (Some(typed), _) => {
                    (setting.set)(&mut settings, &typed.words).map_err(|error| format!("{}: {error}", typed.place))?;
                    continue;
                }
                (None, Preset::Text(text)) => vec![text.to_owned()],
                (None, Preset::Later(_)) => continue,
            };
            (setting.set)(&mut settings, &words).expect("the table's own defaults are valid");
        }
        settings.fetch_secrets(layers)?;
        settings.check()?;
        Ok(settings)
    }

    /// Before the table has spoken. No value of these is ever used.
    fn empty() -> Settings {
        Settings {
            dirs: Vec::new(),
            parity: None,
            accept_missing: false,
            partitions: 0,
            inline_max: 0,
            log_slot: None,
            data_slot: None,
            suspect_after: Duration::ZERO,
            address: Address::Every { port: 0 },
            domains: Vec::new(),
            region: String::new(),
            tls_dir: None,
            tls_cert: None,
            tls_key: None,
            root_user: None,
            root_password: None,
            root_user_file: None,
            root_password_file: None,
            credentials_file: None,
            metrics_token: None,
            metrics_token_file: None,
            metrics_open: false,
            shards: None,
            pin: Vec::new(),
            memory: Share::Bytes(0),
            cache: Share::Bytes(0),
            buffers: 0,
            helpers: None,
            connections_max: 0,
            requests_max: 0,
            header_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            send_timeout: Duration::ZERO,
            body_window: Duration::ZERO,
            body_rate_min: 0,
            stop_timeout: Duration::ZERO,
            log_level: None,
            config: None,
        }
    }

    fn fetch_secrets(&mut self, layers: &Layers) -> Result<(), String> {
        let fetch = |name: &str, direct: &mut Option<String>, file: &Option<PathBuf>| -> Result<(), String> {
            let file_name = format!("{name}-file");
            let (Some(path), Some(from_file)) = (file, layers.get(&file_name)) else { return Ok(()) };
            if let Some(typed) = layers.get(name) {
                if typed.source == from_file.source {
                    return Err(format!("{} and {} are both given: leave one out", typed.place, from_file.place));
                }
                if typed.source > from_file.source {
                    return Ok(());
                }
            }
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("{}: read {}: {error}", from_file.place, path.display()))?;
            *direct = Some(text.trim_end_matches(['\r', '\n']).to_owned());
            Ok(())
        };
        fetch("root-user", &mut self.root_user, &self.root_user_file)?;
        fetch("root-password", &mut self.root_password, &self.root_password_file)?;
        fetch("metrics-token", &mut self.metrics_token, &self.metrics_token_file)
    }

    /// What no single setting can say.
    fn check(&self) -> Result<(), String> {
        match (&self.root_user, &self.root_password) {
            (Some(user), Some(password)) => {
                // The same rule as for every identity, so that a refusal comes before any drive is touched.
                let identity = iam::Identity::new(user, password, "", "");
                identity.map_err(|error| format!("root-user and root-password: {error}"))?;
            }
            (None, None) => {}
            (Some(_), None) => return Err("root-user is given without root-password: give both or neither".to_owned()),
            (None, Some(_)) => return Err("root-password is given without root-user: give both or neither".to_owned()),
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err("tls-cert and tls-key belong together: give both or neither".to_owned());
        }
        if self.tls_cert.is_some() && self.tls_dir.is_some() {
            return Err("tls-dir and tls-cert are both given: leave one out".to_owned());
        }
        if let Some(shards) = self.shards
            && !self.pin.is_empty()
            && self.pin.len() != usize::from(shards)
        {
            return Err(format!("{shards} shards cannot be pinned to {} cores: name one for each", self.pin.len()));
        }
        if self.metrics_token.as_ref().is_some_and(String::is_empty) {
            return Err("metrics-token is empty: leave it out to turn /metrics off".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
