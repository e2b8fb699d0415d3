use super::*;

fn parsed(line: &str) -> Result<Command, String> {
    parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
}

#[test]
fn each_command_is_recognised() {
    for (line, expect) in [
        ("", Command::Help(Topic::All)),
        ("--help", Command::Help(Topic::All)),
        ("help server", Command::Help(Topic::Server)),
        ("server /d --help", Command::Help(Topic::Server)),
        ("doctor -h", Command::Help(Topic::Doctor)),
        ("recover /d --help", Command::Help(Topic::Recover)),
        ("help backup", Command::Help(Topic::Backup)),
        ("restore -h", Command::Help(Topic::Restore)),
        ("version", Command::Version),
        ("--version", Command::Version),
        ("docs tuning", Command::DocsTuning(None)),
        ("docs tuning x.md", Command::DocsTuning(Some("x.md".to_owned()))),
    ] {
        assert_eq!(parsed(line), Ok(expect), "{line}");
    }
}

#[test]
fn flags_and_directories_may_be_mixed() {
    let Ok(Command::Server(flags)) = parsed("server /a --region=x /b --accept-missing --pin 1 --pin 2") else {
        panic!("a server was asked for");
    };
    let words = |name: &str| flags[name].words.join(" ");
    assert_eq!(words("dirs"), "/a /b");
    assert_eq!(
        (words("region").as_str(), words("accept-missing").as_str(), words("pin").as_str()),
        ("x", "true", "1 2")
    );
}

#[test]
fn a_wrong_line_is_refused_with_a_hint() {
    for (line, expect) in [
        ("sever /d", "did you mean server?"),
        ("--address :1 server", "comes before the command"),
        ("server -address", "did you mean --address?"),
        ("server --dirs /x", "directories are given without a flag"),
        ("docs", "hafiz docs tuning"),
    ] {
        match parsed(line) {
            Ok(command) => panic!("{line} became {command:?}"),
            Err(error) => assert!(error.contains(expect), "{line}: {error}"),
        }
    }
}

#[test]
fn help_names_every_setting_on_lines_of_a_terminal() {
    let text = help(Topic::Server);
    for setting in TABLE {
        let name = match setting.name {
            "dirs" => "DIR...".to_owned(),
            name if setting.has_flag() => format!("--{name}"),
            _ => setting.variable(),
        };
        assert!(text.contains(&format!("\n  {name}")), "{name}");
    }
    for topic in [Topic::All, Topic::Server, Topic::Doctor, Topic::Drive, Topic::Heal, Topic::Verify] {
        assert!(help(topic).lines().all(|line| line.chars().count() <= 120));
    }
    assert!(text.starts_with("hafiz server DIR... [flags]\n"));
    let golden = "  --region NAME               The region that requests are signed for. [us-east-1]\n";
    assert!(text.contains(golden), "{text}");
}
