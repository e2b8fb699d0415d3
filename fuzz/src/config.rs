//! The file of settings: any text is settings, or an error that names the file or the setting.

use std::path::Path;

use crate::server::settings::{Layers, Settings, TABLE};

const FILE: &str = "hafiz.toml";

pub(crate) fn file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut layers = Layers::default();
    if let Err(error) = layers.add_file(Path::new(FILE), text) {
        assert!(error.starts_with(FILE), "{error}");
        return;
    }
    // These would have any file of this machine read.
    if TABLE.iter().any(|setting| setting.name.ends_with("-file") && layers.get(setting.name).is_some()) {
        return;
    }
    match Settings::read(&layers) {
        Ok(settings) => {
            let again = Settings::read(&layers).expect("as the first time");
            assert_eq!(format!("{settings:?}"), format!("{again:?}"));
            assert!(settings.tls_cert.is_some() == settings.tls_key.is_some());
        }
        Err(error) => {
            let names = |setting: &str| error.contains(setting);
            assert!(TABLE.iter().any(|setting| names(setting.name)), "{error} says not what is wrong");
        }
    }
}
