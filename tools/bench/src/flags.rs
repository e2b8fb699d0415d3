//! The command line: one table of flags, from which it is read and explained.

use std::time::Duration;

use crate::plan::{Endpoint, Kind, Payload, Plan, Scenario, Signing};
use crate::sizes::{self, Sizes};

const CONNECTIONS_MAX: u64 = 100_000;
const THREADS_MAX: u64 = 1_024;
const REPEATS_MAX: u64 = 1_000;
/// As AWS has them.
const BATCH_MAX: u64 = 1_000;
const PAGE_MAX: u64 = 1_000;
const PARTS_MAX: u64 = 10_000;

struct Flag {
    name: &'static str,
    /// Empty when it has none.
    value: &'static str,
    help: &'static str,
    default: &'static str,
}

const fn flag(name: &'static str, value: &'static str, default: &'static str, help: &'static str) -> Flag {
    Flag { name, value, help, default }
}

const FLAGS: &[Flag] = &[
    flag("endpoint", "URL,...", "", "http://HOST:PORT or https://HOST:PORT; connections go to them in turn"),
    flag("bucket", "NAME", "bench", "made when it is not there"),
    flag("prefix", "TEXT", "bench/", "of all keys; without --keep all that the run made below it is deleted"),
    flag("region", "NAME", "us-east-1", "of the signatures"),
    flag("ca", "FILE", "", "PEM: certificates to trust, of https endpoints"),
    flag("connections", "N", "64", "kept busy, over all threads"),
    flag("threads", "N", "", "as many as there are processors, unless set"),
    flag("duration", "TIME", "10s", "measured, after the warm-up: 500ms, 10s, 5m"),
    flag("warmup", "TIME", "1s", "not measured"),
    flag("count", "N", "", "this many requests instead of a time"),
    flag(
        "rate",
        "N",
        "",
        "requests a second: they begin by the clock, and their time counts from then on, answered or not",
    ),
    flag("repeat", "N", "1", "measure so often"),
    flag(
        "size",
        "SIZES",
        "4KiB",
        "4KiB, 1KiB..64KiB, random:10MiB, 4096:10740,8192:1685 (sizes and weights), @FILE (SIZE WEIGHT lines)",
    ),
    flag("objects", "N", "1000", "made first, to be read, listed or deleted"),
    flag("versions", "N", "5", "of each object, of scenario versioned"),
    flag("page", "N", "1000", "keys of a listing's page"),
    flag("batch", "N", "1000", "keys of a multi-delete"),
    flag("part", "SIZE", "5MiB", "of an upload"),
    flag(
        "mix",
        "WEIGHTS",
        "get=45,head=30,put=15,delete=10",
        "of scenarios mixed and versioned; list and multi-delete too",
    ),
    flag("payload", "HOW", "signed", "signed (SHA-256 of the body) or unsigned"),
    flag("signing", "HOW", "header", "header or presigned"),
    flag("verify", "", "", "compare every byte that comes back"),
    flag("prepared", "", "", "the objects are there: from `fill` with the same --objects, --size and --prefix"),
    flag("keep", "", "", "leave what was made"),
    flag("timeout", "TIME", "60s", "an answer that takes longer is an error"),
    flag("seed", "N", "1", "of the choices"),
    flag("warp", "", "", "defaults of minio/warp for this scenario: objects, sizes, 20 connections, 5 minutes"),
    flag("json", "FILE", "", "write the result there as well"),
    flag("pid", "PID", "", "of the server: adds its CPU time and memory"),
    flag("cgroup", "DIR", "", "of the server (version 2): adds its CPU time"),
    flag("device", "NAME", "", "as in /proc/diskstats: adds its I/Os"),
    flag("quiet", "", "", "no line a second"),
];

const SCENARIOS: &[(&str, Scenario, &str)] = &[
    ("put", Scenario::Put, "new objects"),
    ("get", Scenario::Get, "objects, any of them"),
    ("head", Scenario::Head, "the same, without bodies"),
    ("list", Scenario::List, "pages that begin anywhere"),
    ("delete", Scenario::Delete, "objects, until none is left"),
    ("multi-delete", Scenario::MultiDelete, "many with one request, until none is left"),
    ("multipart", Scenario::Multipart, "objects in parts"),
    ("mixed", Scenario::Mixed, "several kinds of requests"),
    ("versioned", Scenario::Versioned, "the same, of versions"),
    ("fill", Scenario::Fill, "makes the objects that other scenarios find with --prepared"),
];

/// What `--warp` sets. Source: the defaults of minio/warp, cli/ of d06f8e6.
const WARP: &[(Scenario, &[(&str, &str)])] = &[
    (Scenario::Put, &[("size", "10MiB")]),
    (Scenario::Get, &[("objects", "2500"), ("size", "10MiB")]),
    (Scenario::Head, &[("objects", "10000"), ("size", "1KB")]),
    (Scenario::List, &[("objects", "10000"), ("size", "1KB"), ("page", "100")]),
    (Scenario::MultiDelete, &[("objects", "25000"), ("size", "1KiB"), ("batch", "100")]),
    (Scenario::Multipart, &[("size", "500MiB"), ("part", "5MiB")]),
    (Scenario::Mixed, &[("objects", "2500"), ("size", "10MiB")]),
    (Scenario::Versioned, &[("objects", "250"), ("size", "10MiB")]),
];
const WARP_ALWAYS: &[(&str, &str)] = &[("connections", "20"), ("duration", "5m"), ("warmup", "0s")];

pub(crate) fn usage() -> String {
    let mut text =
        "hafiz-bench SCENARIO --endpoint URL [flags]\nhafiz-bench compare BEFORE.json AFTER.json\n\nScenarios:\n"
            .to_owned();
    for (name, _, help) in SCENARIOS {
        text += &format!("  {name:<13} {help}\n");
    }
    text += "\nCredentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.\n\n";
    for Flag { name, value, help, default } in FLAGS {
        let default = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        text += &format!("  --{:<22} {help}{default}\n", format!("{name} {value}"));
    }
    text + "\nExit code: 0 when no request failed, 1 when one did, 2 when the command is wrong.\n"
}

/// `variable` reads the environment.
pub(crate) fn parse(words: &[String], variable: impl Fn(&str) -> Option<String>) -> Result<Plan, String> {
    let (first, rest) = words.split_first().ok_or("a scenario is missing")?;
    let found = SCENARIOS.iter().find(|(name, _, _)| name == first);
    let (_, scenario, _) = found.ok_or_else(|| format!("{first} is no scenario"))?;
    let given = Given::read(rest, *scenario)?;
    let credential = |name: &str| variable(name).ok_or_else(|| format!("{name} is not set"));

    let urls = given.text("endpoint").ok_or("--endpoint is missing")?;
    let endpoints: Vec<Endpoint> =
        urls.split(',').map(|url| Endpoint::parse(url, given.text("ca"))).collect::<Result<_, _>>()?;
    let connections = given.number("connections", CONNECTIONS_MAX)?;
    let threads = match given.text("threads") {
        Some(_) => given.number("threads", THREADS_MAX)?,
        None => std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
    };
    let optional = |name| given.text(name).map(|_| given.number(name, u64::MAX)).transpose();
    let sizes = Sizes::parse(given.need("size")?).map_err(|error| format!("--size {error}"))?;
    let part_bytes = sizes::bytes(given.need("part")?).map_err(|error| format!("--part {error}"))?.max(1);
    if *scenario == Scenario::Multipart
        && let Sizes::Fixed(size) = sizes
        && size.div_ceil(part_bytes) > PARTS_MAX
    {
        return Err(format!("--part: more than {PARTS_MAX} parts of an object"));
    }
    let rate = match given.text("rate") {
        None => None,
        Some(text) => {
            let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
            Some(rate.ok_or_else(|| format!("--rate {text}: not a rate"))?)
        }
    };
    let choice = |name: &str, words: [&str; 2]| {
        let text = given.need(name)?;
        let at = words.iter().position(|word| *word == text);
        at.ok_or_else(|| format!("--{name} {text}: {} or {}", words[0], words[1]))
    };
    Ok(Plan {
        scenario: *scenario,
        endpoints,
        bucket: given.need("bucket")?.to_owned(),
        prefix: given.need("prefix")?.to_owned(),
        region: given.need("region")?.to_owned(),
        access_key: credential("AWS_ACCESS_KEY_ID")?,
        secret: credential("AWS_SECRET_ACCESS_KEY")?,
        connections: connections as usize,
        threads: threads.min(connections) as usize,
        warmup: given.time("warmup")?,
        measured: given.time("duration")?,
        count: optional("count")?,
        rate,
        repeats: given.number("repeat", REPEATS_MAX)? as usize,
        objects: given.number("objects", u64::MAX)?,
        versions: if *scenario == Scenario::Versioned { given.number("versions", u64::MAX)? } else { 1 },
        sizes,
        page: given.number("page", PAGE_MAX)?,
        batch: given.number("batch", BATCH_MAX)? as usize,
        part_bytes,
        mix: mix(given.need("mix")?)?,
        payload: [Payload::Signed, Payload::Unsigned][choice("payload", ["signed", "unsigned"])?],
        signing: [Signing::Header, Signing::Presigned][choice("signing", ["header", "presigned"])?],
        verify: given.has("verify"),
        prepared: given.has("prepared"),
        keep: given.has("keep") || *scenario == Scenario::Fill,
        timeout: given.time("timeout")?.max(Duration::from_millis(1)),
        seed: given.number_or_zero("seed")?,
        quiet: given.has("quiet"),
        json: given.text("json").map(str::to_owned),
        pid: optional("pid")?
            .map(|pid| u32::try_from(pid).map_err(|_| format!("--pid {pid}: not a process")))
            .transpose()?,
        cgroup: given.text("cgroup").map(str::to_owned),
        device: given.text("device").map(str::to_owned),
    })
}

/// What was said, and what counts where nothing was.
struct Given {
    said: Vec<(&'static str, String)>,
    presets: Vec<(&'static str, &'static str)>,
}

impl Given {
    fn read(words: &[String], scenario: Scenario) -> Result<Given, String> {
        let mut given = Given { said: Vec::new(), presets: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").ok_or_else(|| format!("{word}: a flag is asked for"))?;
            let (name, joined) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
            let flag = FLAGS.iter().find(|flag| flag.name == name).ok_or_else(|| format!("--{name} is no flag"))?;
            if given.text(flag.name).is_some() && given.said.iter().any(|(said, _)| *said == flag.name) {
                return Err(format!("--{name} is given twice"));
            }
            let value = match (flag.value.is_empty(), joined) {
                (true, None) => String::new(),
                (true, Some(_)) => return Err(format!("--{name} takes no value")),
                (false, Some(value)) => value.to_owned(),
                (false, None) => words.next().ok_or_else(|| format!("--{name} needs a value"))?.clone(),
            };
            given.said.push((flag.name, value));
        }
        if given.has("warp") {
            let own = WARP.iter().find(|(of, _)| *of == scenario).ok_or("--warp: warp has no such scenario")?.1;
            given.presets = own.iter().chain(WARP_ALWAYS).copied().collect();
        }
        Ok(given)
    }

    fn has(&self, name: &str) -> bool {
        self.said.iter().any(|(said, _)| *said == name)
    }

    fn text(&self, name: &str) -> Option<&str> {
        let said = self.said.iter().find(|(said, _)| *said == name).map(|(_, value)| value.as_str());
        let preset = || self.presets.iter().find(|(preset, _)| *preset == name).map(|(_, value)| *value);
        let default =
            || FLAGS.iter().find(|flag| flag.name == name).map(|flag| flag.default).filter(|text| !text.is_empty());
        said.or_else(preset).or_else(default)
    }

    fn need(&self, name: &str) -> Result<&str, String> {
        self.text(name).ok_or_else(|| format!("--{name} is missing"))
    }

    fn number(&self, name: &str, max: u64) -> Result<u64, String> {
        match self.number_or_zero(name)? {
            0 => Err(format!("--{name} 0: at least 1")),
            number if number > max => Err(format!("--{name} {number}: at most {max}")),
            number => Ok(number),
        }
    }

    fn number_or_zero(&self, name: &str) -> Result<u64, String> {
        let text = self.need(name)?;
        text.parse().map_err(|_| format!("--{name} {text}: not a number"))
    }

    fn time(&self, name: &str) -> Result<Duration, String> {
        let text = self.need(name)?;
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number = text[..split].parse::<u64>().ok();
        let time = match (number, &text[split..]) {
            (Some(number), "ms") => Some(Duration::from_millis(number)),
            (Some(number), "" | "s") => Some(Duration::from_secs(number)),
            (Some(number), "m") => number.checked_mul(60).map(Duration::from_secs),
            (Some(number), "h") => number.checked_mul(3600).map(Duration::from_secs),
            _ => None,
        };
        time.ok_or_else(|| format!("--{name} {text}: not a time"))
    }
}

fn mix(text: &str) -> Result<Vec<(Kind, u64)>, String> {
    const MIXED: [Kind; 6] = [Kind::Get, Kind::Head, Kind::Put, Kind::Delete, Kind::List, Kind::MultiDelete];
    let mut weights = Vec::new();
    for word in text.split(',') {
        let (name, weight) = word.split_once('=').ok_or_else(|| format!("--mix {word}: KIND=WEIGHT"))?;
        let kind = MIXED.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| format!("--mix {name}: no kind of request that can be mixed"))?;
        let weight: u32 = weight.parse().map_err(|_| format!("--mix {word}: not a weight"))?;
        if weights.iter().any(|(other, _)| *other == kind) {
            return Err(format!("--mix: {name} twice"));
        }
        weights.push((kind, u64::from(weight)));
    }
    weights.retain(|(_, weight)| *weight > 0);
    if weights.is_empty() { Err("--mix: nothing has a weight".to_owned()) } else { Ok(weights) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Plan, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words, |_| Some("x".to_owned()))
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let check = |line: &str, expect: &str| {
            assert_eq!(read(line).map(drop), Err(expect.to_owned()), "{line}");
        };
        check("", "a scenario is missing");
        check("grab", "grab is no scenario");
        check("get", "--endpoint is missing");
        check("get put", "put: a flag is asked for");
        let get = |flags: &str| format!("get --endpoint http://127.0.0.1:1 {flags}");
        check(&get("--sice 1"), "--sice is no flag");
        check(&get("--size"), "--size needs a value");
        check(&get("--size x"), "--size x: not a size");
        check(&get("--connections 0"), "--connections 0: at least 1");
        check(&get("--connections 100001"), "--connections 100001: at most 100000");
        check(&get("--page 1001"), "--page 1001: at most 1000");
        check(&get("--verify=yes"), "--verify takes no value");
        check(&get("--keep --keep"), "--keep is given twice");
        check(&get("--payload no"), "--payload no: signed or unsigned");
        check(&get("--duration 5x"), "--duration 5x: not a time");
        check(&get("--rate -1"), "--rate -1: not a rate");
        check(&get("--mix get=1,get=2"), "--mix: get twice");
        check(&get("--mix get=0"), "--mix: nothing has a weight");
        check(&get("--mix upload-part=1"), "--mix upload-part: no kind of request that can be mixed");
        check("delete --endpoint http://127.0.0.1:1 --warp", "--warp: warp has no such scenario");
        check(
            "multipart --endpoint http://127.0.0.1:1 --size 1GiB --part 1KiB",
            "--part: more than 10000 parts of an object",
        );
        let words = ["get".to_owned(), "--endpoint".to_owned(), "http://127.0.0.1:1".to_owned()];
        assert_eq!(parse(&words, |_| None).map(drop), Err("AWS_ACCESS_KEY_ID is not set".to_owned()));
    }

    #[test]
    fn what_is_said_counts_before_presets_and_those_before_defaults() {
        let plan = read("list --endpoint http://127.0.0.1:1 --warp --page 7 --duration=2m").unwrap();
        assert_eq!((plan.page, plan.objects, plan.connections), (7, 10_000, 20));
        assert_eq!(
            (plan.measured, plan.warmup, plan.sizes),
            (Duration::from_secs(120), Duration::ZERO, Sizes::Fixed(1000))
        );
        let plan = read("get --endpoint http://127.0.0.1:1,http://127.0.0.1:2 --threads 9 --connections 3").unwrap();
        assert_eq!((plan.endpoints.len(), plan.threads, plan.sizes), (2, 3, Sizes::Fixed(4096)));
    }

    #[test]
    fn the_help_names_every_flag_and_scenario() {
        let text = usage();
        assert!(FLAGS.iter().all(|flag| text.contains(&format!("--{}", flag.name))));
        assert!(SCENARIOS.iter().all(|(name, _, _)| text.contains(name)));
    }
}
