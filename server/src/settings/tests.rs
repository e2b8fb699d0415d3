use std::collections::BTreeMap;

use super::layers::Source;
use super::value::Address;
use super::*;
use crate::cli::{self, Command};

/// Settings from a command line, variables and the text of a file.
fn read(arguments: &[&str], variables: &[(&str, &str)], file: &str) -> Result<Settings, String> {
    let arguments: Vec<String> = ["server"].iter().chain(arguments).map(|word| word.to_string()).collect();
    let Command::Server(flags) = cli::parse(&arguments)? else { panic!("a server was asked for") };
    let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let mut layers = Layers::gather(flags, variables)?;
    layers.add_file("f.toml".as_ref(), file)?;
    Settings::read(&layers)
}

fn refused(arguments: &[&str], variables: &[(&str, &str)], file: &str, expect: &str) {
    match read(arguments, variables, file) {
        Ok(_) => panic!("{arguments:?} {variables:?} {file} was taken"),
        Err(error) => assert!(error.contains(expect), "{error:?} does not say {expect:?}"),
    }
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let check = |arguments: &[&str], variables: &[(&str, &str)], file: &str, expect: &str| {
        let settings = read(arguments, variables, file).unwrap();
        assert_eq!(settings.region, expect, "{arguments:?} {variables:?} {file}");
    };
    let (flag, variable, file) = (["--region", "flag"], [("HAFIZ_REGION", "variable")], "region = 'file'");
    check(&flag, &variable, file, "flag");
    check(&[], &variable, file, "variable");
    check(&[], &[], file, "file");
    check(&[], &[], "", "us-east-1");
}

#[test]
fn every_default_in_the_table_is_valid_and_every_name_is_told_once() {
    let settings = Settings::read(&Layers::default()).unwrap();
    assert_eq!(settings.address, Address::Every { port: 9000 });
    assert_eq!((settings.partitions, settings.inline_max, settings.connections_max), (64, 32 << 10, 1024));
    for setting in TABLE {
        assert!(SECTIONS.contains(&setting.section), "{}", setting.name);
        assert!(!setting.doc.is_empty(), "{}", setting.name);
        assert_eq!(TABLE.iter().filter(|other| other.name == setting.name).count(), 1, "{}", setting.name);
    }
}

#[test]
fn the_documented_limits_are_those_of_the_http_layer() {
    let settings = Settings::read(&Layers::default()).unwrap();
    let (ours, theirs) = (crate::plan::limits(&settings, settings.connections_max), http::Limits::default());
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
}

#[test]
fn directories_come_from_arguments_or_minios_variable_with_ranges() {
    let check = |arguments: &[&str], variables: &[(&str, &str)], file: &str, expect: &[&str]| {
        let settings = read(arguments, variables, file).unwrap();
        assert_eq!(settings.dirs, expect.iter().map(PathBuf::from).collect::<Vec<_>>());
    };
    check(&["/d{1..2}", "/x"], &[("MINIO_VOLUMES", "/y")], "", &["/d1", "/d2", "/x"]);
    check(&[], &[("MINIO_VOLUMES", "/d{1...2} /y")], "", &["/d1", "/d2", "/y"]);
    check(&[], &[("MINIO_VOLUMES", "/m"), ("HAFIZ_DIRS", "/h")], "", &["/h"]);
    check(&[], &[], "dirs = ['/a', '/b']", &["/a", "/b"]);
    check(&["--", "--odd"], &[], "", &["--odd"]);
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_one() {
    refused(&["--adress", ":1"], &[], "", "unknown flag --adress; did you mean --address?");
    refused(&[], &[("HAFIZ_MEMROY", "1GiB")], "", "unknown variable HAFIZ_MEMROY; did you mean HAFIZ_MEMORY?");
    refused(&[], &[], "adres = ':1'", "f.toml: unknown key adres; did you mean address?");
    refused(&[], &[], "[tls]\ndir = '/x'", "unknown key tls");
    refused(&[], &[], "config = 'other.toml'", "unknown key config");
    refused(&[], &[], "region = ", "f.toml");
    let layers = Layers::gather(BTreeMap::new(), [("MINIO_BROWSER".to_owned(), "off".to_owned())]).unwrap();
    assert_eq!(layers.ignored, ["MINIO_BROWSER"]);
}

#[test]
fn a_wrong_value_is_refused_with_its_place() {
    refused(&["--memory", "lots"], &[], "", "--memory: \"lots\" is not a size");
    refused(&[], &[("HAFIZ_PARITY", "9")], "", "HAFIZ_PARITY: \"9\" is not a number from 0 to 8");
    refused(&[], &[], "address = 9000", "f.toml: address: \"9000\" is not an address");
    refused(&[], &[], "region = ['a', 'b']", "f.toml: region");
    refused(&["--region", "a", "--region", "b"], &[], "", "--region is given twice");
    refused(&["--region"], &[], "", "--region needs a value");
    refused(&["/d{2..1}"], &[], "", "DIR: {2..1} is not a range");
    refused(&["--shards", "2", "--pin", "1"], &[], "", "2 shards cannot be pinned to 1 cores");
    refused(&["--tls-cert", "x"], &[], "", "tls-cert and tls-key");
}

#[test]
fn root_is_named_whole_and_not_on_the_command_line() {
    let minio = [("MINIO_ROOT_USER", "admin"), ("MINIO_ROOT_PASSWORD", "12345678")];
    let settings = read(&[], &minio, "").unwrap();
    assert_eq!(settings.root_user.as_deref(), Some("admin"));
    refused(&["--root-password", "12345678"], &[], "", "use HAFIZ_ROOT_PASSWORD or --root-password-file");
    refused(&[], &[("HAFIZ_ROOT_USER", "admin")], "", "without root-password");
    refused(&[], &[("HAFIZ_ROOT_USER", "admin"), ("HAFIZ_ROOT_PASSWORD", "1234567")], "", "8 to 128");
}

#[test]
fn a_secret_may_come_from_a_file_and_not_from_two_places() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, "from-the-file\n").unwrap();
    let path = path.to_str().unwrap();
    let user = ("HAFIZ_ROOT_USER", "admin");
    let settings = read(&[], &[user, ("MINIO_ROOT_PASSWORD_FILE", path)], "").unwrap();
    assert_eq!(settings.root_password.as_deref(), Some("from-the-file"));
    let settings = read(&["--root-password-file", path], &[user, ("HAFIZ_ROOT_PASSWORD", "12345678")], "").unwrap();
    assert_eq!(settings.root_password.as_deref(), Some("from-the-file"));
    let variables = [user, ("HAFIZ_ROOT_PASSWORD", "12345678"), ("HAFIZ_ROOT_PASSWORD_FILE", path)];
    refused(&[], &variables, "", "leave one out");
    refused(&["--metrics-token-file", "/nowhere/at/all"], &[], "", "read /nowhere/at/all");
}

#[test]
fn a_later_source_is_the_stronger_one() {
    assert!(Source::CommandLine > Source::Environment && Source::Environment > Source::File);
}
