//! The keys of root: given, or made at the first start and kept in a file. There is no default password.
//!
//! The file lies beside the first drive and is named after the deployment, so that it outlives the drive and several
//! deployments may lie side by side. It has the form of `~/.aws/credentials`, so that clients can be pointed at it.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::settings::Settings;

/// Access key of a root that is made.
const USER: &str = "hafiz";
/// Characters of a password that is made: 190 bits.
const PASSWORD_LEN: usize = 32;
/// Where S3 clients find their keys.
const VARIABLES: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 10;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) origin: Origin,
}

/// What requests to a bucket are signed with, of this server or any other.
pub(crate) struct Keys {
    pub(crate) credentials: Credentials,
    /// Goes with keys that are lent for a time.
    pub(crate) token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Given,
    /// Read from the file that an earlier start wrote.
    Kept {
        file: PathBuf,
        readable_by_others: bool,
    },
    /// Made now.
    Made {
        file: PathBuf,
    },
}

/// The keys as settings, file or chance have it. `deployment`: its id in hexadecimal.
///
/// Errors: one line that names the file and what to do.
pub(crate) fn of_root(settings: &Settings, deployment: &str) -> Result<Credentials, String> {
    if let (Some(user), Some(password)) = (&settings.root_user, &settings.root_password) {
        return Ok(Credentials { user: user.clone(), password: password.clone(), origin: Origin::Given });
    }
    let places = match &settings.credentials_file {
        Some(file) => vec![file.clone()],
        None => settings.dirs.iter().map(|dir| beside(dir, deployment)).collect(),
    };
    for file in &places {
        match read(file) {
            Ok(credentials) => return Ok(credentials),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("read the root credentials in {}: {error}", file.display())),
        }
    }
    let first = places.first().ok_or("no directory was given")?;
    make(first).map_err(|error| {
        format!(
            "keep the root credentials in {}: {error}; name another place with --credentials-file, or give \
             HAFIZ_ROOT_USER and HAFIZ_ROOT_PASSWORD",
            first.display()
        )
    })
}

/// The keys as a client on the server's machine finds them: given, or in the file that the server keeps, named or beside a
/// drive. Makes none.
///
/// Errors: one line that says what to do.
pub(crate) fn find(settings: &Settings) -> Result<Credentials, String> {
    if let (Some(user), Some(password)) = (&settings.root_user, &settings.root_password) {
        return Ok(Credentials { user: user.clone(), password: password.clone(), origin: Origin::Given });
    }
    let beside_drive = |dir: &PathBuf| {
        let identity = store::inspect::drive(dir).ok()?.identity.ok()?;
        Some(beside(dir, &identity.deployment.to_string()))
    };
    let places: Vec<PathBuf> = match &settings.credentials_file {
        Some(file) => vec![file.clone()],
        None => settings.dirs.iter().filter_map(beside_drive).collect(),
    };
    for file in &places {
        match read(file) {
            Ok(credentials) => return Ok(credentials),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("read the root credentials in {}: {error}", file.display())),
        }
    }
    Err("no root credentials: give HAFIZ_ROOT_USER and HAFIZ_ROOT_PASSWORD, --credentials-file, or --dir with the directory \
         of a drive beside which the server keeps them"
        .to_owned())
}

impl Keys {
    /// Those that the settings give: HAFIZ_ROOT_USER and HAFIZ_ROOT_PASSWORD, or a file; else those that every S3 client takes
    /// from the environment.
    ///
    /// Errors: one line that names what to give.
    pub(crate) fn of(settings: &Settings) -> Result<Keys, String> {
        let is_root_given = settings.root_user.is_some() && settings.root_password.is_some();
        if is_root_given || settings.credentials_file.is_some() || !settings.dirs.is_empty() {
            return find(settings).map(|credentials| Keys { credentials, token: None });
        }
        Keys::of_variables(|name| std::env::var(name).ok()).unwrap_or_else(|| {
            Err(format!(
                "no credentials for the bucket: give HAFIZ_ROOT_USER and HAFIZ_ROOT_PASSWORD, {} and {}, or \
                 --credentials-file",
                VARIABLES[0], VARIABLES[1]
            ))
        })
    }

    /// For a bucket of another server than the one that the settings are of: in the file, those that every S3 client takes from
    /// the environment, or else the same as here.
    ///
    /// Errors: one line that names what to give.
    pub(crate) fn of_other(file: Option<&Path>, settings: &Settings) -> Result<Keys, String> {
        match file {
            Some(file) => read(file)
                .map(|credentials| Keys { credentials, token: None })
                .map_err(|error| format!("read the credentials of the bucket in {}: {error}", file.display())),
            None => Keys::of_variables(|name| std::env::var(name).ok()).unwrap_or_else(|| Keys::of(settings)),
        }
    }

    /// Those that every S3 client takes from the environment. `None`: there are none.
    fn of_variables(variable: impl Fn(&str) -> Option<String>) -> Option<Result<Keys, String>> {
        let [user, password, token] = VARIABLES.map(|name| variable(name).filter(|value| !value.is_empty()));
        let keys = |user, password| Keys { credentials: Credentials { user, password, origin: Origin::Given }, token };
        match (user, password) {
            (Some(user), Some(password)) => Some(Ok(keys(user, password))),
            (None, None) => None,
            _ => Some(Err(format!("{} and {} go together", VARIABLES[0], VARIABLES[1]))),
        }
    }
}

/// Next to the drive's directory, never in it.
fn beside(dir: &Path, deployment: &str) -> PathBuf {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    dir.parent().unwrap_or(Path::new("/")).join(format!("hafiz-{deployment}.credentials"))
}

fn make(file: &Path) -> io::Result<Credentials> {
    let password = password();
    let mut text = String::new();
    writeln!(
        text,
        "# Root of a Hafiz deployment. Whoever reads this file may do everything; the server reads it at each start.\n\
         [default]\naws_access_key_id = {USER}\naws_secret_access_key = {password}"
    )
    .expect("a String takes every write");
    let mut aside = file.as_os_str().to_owned();
    aside.push(".new");
    let aside = PathBuf::from(aside);
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    new.write_all(text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&aside, file)?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent)?.sync_all()?;
    Ok(Credentials { user: USER.to_owned(), password, origin: Origin::Made { file: file.to_owned() } })
}

/// Letters and digits, each as likely as any other.
fn password() -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    /// The largest multiple of the alphabet's size: bytes from there on would favour its first letters.
    const FAIR: u8 = (256 / ALPHABET.len() * ALPHABET.len()) as u8;
    let mut password = String::with_capacity(PASSWORD_LEN);
    while password.len() < PASSWORD_LEN {
        let mut bytes = [0; 2 * PASSWORD_LEN];
        rt::random::fill_secret(&mut bytes);
        let fair = bytes.into_iter().filter(|byte| *byte < FAIR);
        let letters = fair.map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]));
        password.extend(letters.take(PASSWORD_LEN - password.len()));
    }
    password
}

fn read(file: &Path) -> io::Result<Credentials> {
    let metadata = fs::metadata(file)?;
    if metadata.len() > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    let text = fs::read_to_string(file)?;
    let field = |name: &str| {
        let fields = text.lines().filter_map(|line| line.split_once('='));
        fields.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    let missing = |name| io::Error::new(io::ErrorKind::InvalidData, format!("it has no {name}"));
    let user = field("aws_access_key_id").ok_or_else(|| missing("aws_access_key_id"))?;
    let password = field("aws_secret_access_key").ok_or_else(|| missing("aws_secret_access_key"))?;
    iam::Identity::new(user, password, "", "")
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    let readable_by_others = metadata.permissions().mode() & 0o077 != 0;
    let origin = Origin::Kept { file: file.to_owned(), readable_by_others };
    Ok(Credentials { user: user.to_owned(), password: password.to_owned(), origin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Layers;

    fn settings(dirs: &[&Path]) -> Settings {
        let mut settings = Settings::read(&Layers::default()).unwrap();
        settings.dirs = dirs.iter().map(|dir| dir.to_path_buf()).collect();
        settings
    }

    #[test]
    fn a_made_password_is_kept_for_the_owner_alone_and_found_again() {
        let place = tempfile::tempdir().unwrap();
        let (a, b) = (place.path().join("a"), place.path().join("b"));
        let made = of_root(&settings(&[&a, &b]), "d1").unwrap();
        let file = place.path().join("hafiz-d1.credentials");
        assert_eq!(made.origin, Origin::Made { file: file.clone() });
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(made.password.len(), PASSWORD_LEN);

        let kept = of_root(&settings(&[&b, &a]), "d1").unwrap();
        assert_eq!((kept.user, kept.password.clone()), (made.user, made.password));
        assert_eq!(kept.origin, Origin::Kept { file, readable_by_others: false });
        let other = of_root(&settings(&[&a]), "d2").unwrap();
        assert_ne!(other.password, kept.password);
    }

    #[test]
    fn given_keys_are_used_and_nothing_is_written() {
        let place = tempfile::tempdir().unwrap();
        let mut settings = settings(&[&place.path().join("a")]);
        settings.root_user = Some("admin".to_owned());
        settings.root_password = Some("12345678".to_owned());
        let given = of_root(&settings, "d").unwrap();
        assert_eq!((given.user.as_str(), given.origin), ("admin", Origin::Given));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_without_keys_is_refused_and_left_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let mut settings = settings(&[&place.path().join("a")]);
        let file = place.path().join("keys");
        settings.credentials_file = Some(file.clone());
        for (text, expect) in [
            ("", "aws_access_key_id"),
            ("aws_access_key_id = root\n", "aws_secret_access_key"),
            ("aws_access_key_id = root\naws_secret_access_key = short\n", "8 to 128"),
        ] {
            fs::write(&file, text).unwrap();
            let error = of_root(&settings, "d").err().unwrap();
            assert!(error.contains(expect), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
        }
    }

    #[test]
    fn keys_of_a_bucket_are_those_of_every_client_when_there_are_no_others() {
        let keys = |pairs: &[(&str, &str)]| {
            let found =
                |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            Keys::of_variables(found)
        };
        let user = ("AWS_ACCESS_KEY_ID", "user");
        let found = keys(&[user, ("AWS_SECRET_ACCESS_KEY", "p"), ("AWS_SESSION_TOKEN", "")]).unwrap().ok().unwrap();
        assert_eq!((&*found.credentials.user, &*found.credentials.password, found.token), ("user", "p", None));
        assert!(keys(&[]).is_none() && keys(&[("AWS_ACCESS_KEY_ID", "")]).is_none());
        assert!(keys(&[user]).unwrap().err().unwrap().contains("go together"));
        let mut settings = settings(&[]);
        settings.root_user = Some("admin".to_owned());
        settings.root_password = Some("12345678".to_owned());
        assert_eq!(Keys::of(&settings).ok().unwrap().credentials.user, "admin");
    }

    #[test]
    fn a_file_that_others_may_read_is_used_and_told() {
        let place = tempfile::tempdir().unwrap();
        let a = place.path().join("a");
        of_root(&settings(&[&a]), "d").unwrap();
        let file = place.path().join("hafiz-d.credentials");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(of_root(&settings(&[&a]), "d").unwrap().origin, Origin::Kept { file, readable_by_others: true });
    }
}
