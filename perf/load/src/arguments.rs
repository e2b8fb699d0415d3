//! The command line.

use std::time::Duration;

/// What to do, checked.
#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    pub(crate) scenario: Scenario,
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) access_key: String,
    pub(crate) secret: String,
    pub(crate) connections: usize,
    pub(crate) measured: Duration,
    pub(crate) warmup: Duration,
    /// Instead of a time.
    pub(crate) count: Option<u64>,
    pub(crate) size_bytes: u64,
    pub(crate) part_bytes: u64,
    pub(crate) keys: u64,
    pub(crate) prefix: String,
    pub(crate) page: u64,
    pub(crate) payload: Payload,
    pub(crate) signing: Signing,
    pub(crate) pid: Option<u32>,
    pub(crate) device: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    MakeBucket,
    /// Writes each of `keys` once.
    Fill,
    /// Writes new keys.
    Put,
    Get,
    Head,
    /// Pages that start at keys spread over the bucket.
    List,
    /// Multi-object deletes of keys that `Fill` wrote.
    Delete,
    /// One multipart object, its parts side by side.
    Upload,
    Download,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Signed,
    Unsigned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signing {
    Header,
    Presigned,
}

impl Arguments {
    /// `variable` reads the environment.
    pub(crate) fn parse(
        mut words: impl Iterator<Item = String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Arguments, String> {
        let scenario = match words.next().as_deref() {
            Some("make-bucket") => Scenario::MakeBucket,
            Some("fill") => Scenario::Fill,
            Some("put") => Scenario::Put,
            Some("get") => Scenario::Get,
            Some("head") => Scenario::Head,
            Some("list") => Scenario::List,
            Some("delete") => Scenario::Delete,
            Some("upload") => Scenario::Upload,
            Some("download") => Scenario::Download,
            Some(other) => return Err(format!("{other} is no scenario")),
            None => return Err("a scenario is missing".to_owned()),
        };
        let credential = |name: &str| variable(name).ok_or_else(|| format!("{name} is not set"));
        let mut arguments = Arguments {
            scenario,
            endpoint: String::new(),
            bucket: String::new(),
            access_key: credential("AWS_ACCESS_KEY_ID")?,
            secret: credential("AWS_SECRET_ACCESS_KEY")?,
            connections: 64,
            measured: Duration::from_secs(5),
            warmup: Duration::from_secs(1),
            count: None,
            size_bytes: 4096,
            part_bytes: 64 << 20,
            keys: 1024,
            prefix: "key/".to_owned(),
            page: 1000,
            payload: Payload::Signed,
            signing: Signing::Header,
            pid: None,
            device: None,
        };
        while let Some(flag) = words.next() {
            let value = words.next().ok_or_else(|| format!("{flag} needs a value"))?;
            arguments.set(&flag, value)?;
        }
        for (name, value) in [("--endpoint", &arguments.endpoint), ("--bucket", &arguments.bucket)] {
            if value.is_empty() {
                return Err(format!("{name} is missing"));
            }
        }
        Ok(arguments)
    }

    fn set(&mut self, flag: &str, value: String) -> Result<(), String> {
        let number =
            || value.parse::<u64>().ok().filter(|&n| n > 0).ok_or_else(|| format!("{flag} {value}: not a number"));
        match flag {
            "--endpoint" => self.endpoint = value,
            "--bucket" => self.bucket = value,
            "--prefix" => self.prefix = value,
            "--device" => self.device = Some(value),
            "--connections" => self.connections = number()? as usize,
            "--seconds" => self.measured = Duration::from_secs(number()?),
            "--warmup" => self.warmup = Duration::from_secs(number()?),
            "--count" => self.count = Some(number()?),
            "--size" => self.size_bytes = number()?,
            "--part" => self.part_bytes = number()?,
            "--keys" => self.keys = number()?,
            "--page" => self.page = number()?,
            "--pid" => self.pid = Some(number()? as u32),
            "--payload" => {
                self.payload = match value.as_str() {
                    "signed" => Payload::Signed,
                    "unsigned" => Payload::Unsigned,
                    _ => return Err(format!("--payload {value}: signed or unsigned")),
                }
            }
            "--signing" => {
                self.signing = match value.as_str() {
                    "header" => Signing::Header,
                    "presigned" => Signing::Presigned,
                    _ => return Err(format!("--signing {value}: header or presigned")),
                }
            }
            _ => return Err(format!("{flag} is no flag")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_means_nothing_is_refused() {
        let check = |line: &str, expect: Result<(), &str>| {
            let words = line.split_whitespace().map(str::to_owned);
            let outcome = Arguments::parse(words, |_| Some("x".to_owned())).map(drop);
            assert_eq!(outcome, expect.map_err(str::to_owned), "{line}");
        };
        check("get --endpoint a:1 --bucket b", Ok(()));
        check("", Err("a scenario is missing"));
        check("grab", Err("grab is no scenario"));
        check("get --endpoint a:1", Err("--bucket is missing"));
        check("get --endpoint a:1 --bucket b --sice 1", Err("--sice is no flag"));
        check("get --endpoint a:1 --bucket b --size", Err("--size needs a value"));
        check("get --endpoint a:1 --bucket b --size 0", Err("--size 0: not a number"));
        check("put --endpoint a:1 --bucket b --payload no", Err("--payload no: signed or unsigned"));
    }
}
