//! What was typed, and where: flags over environment over file. Nothing is interpreted here but names.

use std::collections::BTreeMap;
use std::path::Path;

use super::table::{Setting, Shape, TABLE, find};
use crate::nearest::suggestion;

/// Where a value was found. Later ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    File,
    Environment,
    CommandLine,
}

/// The text of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    pub(crate) words: Vec<String>,
    pub(crate) source: Source,
    /// What to call the place in an error: `--parity`, `HAFIZ_PARITY`, `hafiz.toml: parity`.
    pub(crate) place: String,
}

/// All that was typed, the strongest source of each setting.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layers {
    typed: BTreeMap<&'static str, Typed>,
    /// MinIO's variables that mean nothing here.
    pub(crate) ignored: Vec<String>,
}

impl Layers {
    /// Merges the command line, the environment and the file that one of them names.
    ///
    /// Errors: an unknown variable that begins with `HAFIZ_`, an unknown key, a file that cannot be read.
    pub(crate) fn gather(
        flags: BTreeMap<&'static str, Typed>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Layers, String> {
        let mut layers = Layers { typed: flags, ignored: Vec::new() };
        layers.add_environment(environment)?;
        if let Some(config) = layers.get("config") {
            let (place, path) = (config.place.clone(), config.words.concat());
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{place}: read {path}: {error}"))?;
            layers.add_file(Path::new(&path), &text)?;
        }
        Ok(layers)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Typed> {
        self.typed.get(name)
    }

    fn add_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) -> Result<(), String> {
        let mut variables: Vec<(String, String)> = environment.into_iter().collect();
        // Our own name first, so that it wins over MinIO's for the same setting.
        variables.sort();
        for (variable, text) in variables {
            let setting = TABLE.iter().find(|s| s.variable() == variable || s.minio == Some(variable.as_str()));
            match setting {
                Some(setting) => {
                    let words = match setting.shape {
                        Shape::One(_) | Shape::Switch => vec![text],
                        Shape::Many(_) => text.split_whitespace().map(str::to_owned).collect(),
                    };
                    self.add(setting, Typed { words, source: Source::Environment, place: variable });
                }
                None if variable.starts_with("HAFIZ_") => {
                    let known: Vec<String> = TABLE.iter().map(Setting::variable).collect();
                    let hint = suggestion(&variable, known.iter().map(String::as_str));
                    return Err(format!("unknown variable {variable}{hint}"));
                }
                None if variable.starts_with("MINIO_") => self.ignored.push(variable),
                None => {}
            }
        }
        Ok(())
    }

    pub(crate) fn add_file(&mut self, path: &Path, text: &str) -> Result<(), String> {
        let file = path.display();
        let table: toml::Table = text.parse().map_err(|error| format!("{file}: {error}"))?;
        for (key, value) in table {
            let Some(setting) = find(&key).filter(|setting| setting.has_key()) else {
                let keys = TABLE.iter().filter(|setting| setting.has_key()).map(|setting| setting.name);
                return Err(format!("{file}: unknown key {key}{}", suggestion(&key, keys)));
            };
            let place = format!("{file}: {key}");
            let words = words_of(value, setting.shape).map_err(|error| format!("{place}: {error}"))?;
            self.add(setting, Typed { words, source: Source::File, place });
        }
        Ok(())
    }

    /// Keeps the stronger one; of two as strong, the first.
    fn add(&mut self, setting: &'static Setting, typed: Typed) {
        let known = self.typed.entry(setting.name).or_insert_with(|| typed.clone());
        if typed.source > known.source {
            *known = typed;
        }
    }
}

/// The text that a TOML value stands for.
fn words_of(value: toml::Value, shape: Shape) -> Result<Vec<String>, String> {
    let word = |value: toml::Value| match value {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(value) => Ok(value.to_string()),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
            Err("a string, a number, true or false is expected".to_owned())
        }
    };
    match (value, shape) {
        (toml::Value::Array(values), Shape::Many(_)) => values.into_iter().map(word).collect(),
        (value, _) => Ok(vec![word(value)?]),
    }
}
