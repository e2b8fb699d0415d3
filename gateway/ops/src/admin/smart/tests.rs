use std::sync::mpsc;

use rt::nvme::Unread;

use super::*;

const DIR: &str = "/drive";
/// More than any helper thread waits for its turn.
const LONG: Duration = Duration::from_secs(60);

fn alone<Fut: Future<Output = ()> + 'static>(main: impl FnOnce() -> Fut + Send + 'static) {
    rt::run_alone(rt::Config::new(1), main).unwrap();
}

fn smart(critical_warning: u8) -> Smart {
    let mut log = [0; 512];
    log[..6].copy_from_slice(&[critical_warning, 0x43, 0x01, 90, 10, 3]);
    log[160] = 2;
    Smart::parse(&log).unwrap()
}

fn device(name: &str, critical_warning: u8) -> Device {
    Device { name: name.to_owned(), smart: Ok(smart(critical_warning)) }
}

fn unread(name: &str, why: Unread) -> Device {
    Device { name: name.to_owned(), smart: Err(why) }
}

#[test]
fn a_drive_that_hangs_is_silent_and_asked_once_and_its_late_answer_counts() {
    alone(|| async {
        let id = DriveId(1);
        let (answer, waits) = mpsc::channel();
        let hangs = move |_: &Path| waits.recv().unwrap_or_default();
        let within = Duration::from_millis(20);
        let began = rt::time::now();
        assert_eq!(report(id, Path::new(DIR), hangs, within).await, Report::Silent);
        // Nobody waits for it again, and no second helper is sent.
        let never = |_: &Path| panic!("asked twice");
        assert_eq!(report(id, Path::new(DIR), never, within).await, Report::Silent);
        assert!(began.elapsed() < LONG);
        // Others are asked meanwhile.
        let well = |_: &Path| vec![device("nvme1", 0)];
        assert_eq!(report(DriveId(2), Path::new(DIR), well, LONG).await, Report::Answered(vec![device("nvme1", 0)]));
        answer.send(vec![device("nvme0", 4)]).unwrap();
        let never = |_: &Path| panic!("asked twice");
        let came = report(id, Path::new(DIR), never, LONG).await;
        assert_eq!(came, Report::Answered(vec![device("nvme0", 4)]));
    });
}

#[test]
fn who_comes_while_a_question_is_under_way_gets_its_answer() {
    alone(|| async {
        let id = DriveId(3);
        let (answer, waits) = mpsc::channel();
        let asks = |first: bool, waits: Option<mpsc::Receiver<Vec<Device>>>| async move {
            let ask = move |_: &Path| {
                assert!(first, "asked twice");
                waits.map(|waits| waits.recv().unwrap()).unwrap_or_default()
            };
            report(id, Path::new(DIR), ask, LONG).await
        };
        let tell = async {
            rt::yield_now().await;
            answer.send(vec![device("nvme0", 0)]).unwrap();
            Report::Unasked
        };
        let all: Vec<std::pin::Pin<Box<dyn Future<Output = Report>>>> =
            vec![Box::pin(asks(true, Some(waits))), Box::pin(asks(false, None)), Box::pin(tell)];
        let expect = Report::Answered(vec![device("nvme0", 0)]);
        assert_eq!(rt::sync::join_all(all).await, [expect.clone(), expect, Report::Unasked]);
    });
}

#[test]
fn a_drive_that_is_not_used_any_more_is_forgotten_whatever_comes_late() {
    alone(|| async {
        let id = DriveId(4);
        let (answer, waits) = mpsc::channel();
        let hangs = move |_: &Path| waits.recv().unwrap_or_default();
        assert_eq!(report(id, Path::new(DIR), hangs, Duration::ZERO).await, Report::Silent);
        forget(id);
        answer.send(vec![device("nvme0", 4)]).unwrap();
        answered(id, Path::new(DIR), vec![device("nvme0", 4)]);
        assert!(with_known(|known| !known.contains_key(&id)));
    });
}

#[test]
fn health_is_the_worst_of_all_drives_beneath_a_directory() {
    let check = |report: Report, expect: &str| assert_eq!(report.health(), expect, "{report:?}");
    let answered = |devices: &[Device]| Report::Answered(devices.to_vec());
    check(Report::Unasked, "unasked");
    check(Report::Silent, "silent");
    check(answered(&[]), "none");
    check(answered(&[device("nvme0", 0)]), "ok");
    check(answered(&[device("nvme0", 0x02)]), "warns");
    check(answered(&[device("nvme0", 0), device("nvme1", 0x08)]), "failing");
    check(answered(&[unread("nvme0", Unread::Forbidden), device("nvme1", 0)]), "forbidden");
    check(answered(&[unread("nvme0", Unread::Forbidden), device("nvme1", 1)]), "failing");
    check(answered(&[unread("nvme0", Unread::Absent)]), "absent");
}

#[test]
fn what_a_drive_warns_of_is_news_once() {
    let mut known = Known::default();
    let fails = |says: &str| Some(News::Fails { device: "nvme0".into(), says: says.into() });
    let warns = |says: &str| Some(News::Warns { device: "nvme0".into(), says: says.into() });
    let mut check = |device: Device, expect: Option<News>| assert_eq!(known.note(&device), expect, "{device:?}");
    check(device("nvme0", 0), None);
    check(device("nvme0", 0x02), warns("temperature"));
    check(device("nvme0", 0x02), None);
    check(device("nvme0", 0x06), fails("temperature, degraded"));
    check(device("nvme0", 0x06), None);
    // Not to be read for a while.
    check(unread("nvme0", Unread::Resetting), None);
    check(device("nvme0", 0x06), None);
    check(device("nvme0", 0x04), None);
    check(device("nvme0", 0x14), warns("degraded, backup failed"));
    check(device("nvme0", 0), Some(News::IsWell { device: "nvme0".into() }));
    check(device("nvme0", 0), None);
    check(device("nvme0", 0x01), fails("spare low"));
    // Each drive by itself.
    check(device("nvme1", 0), None);
}

#[test]
fn the_object_of_a_directory_has_every_field() {
    let check = |report: Report, expect: &str| {
        let mut json = Json::default();
        json.open('{');
        report.write(&mut json);
        assert_eq!(json.close('}').finish(), format!("{expect}\n"));
    };
    check(Report::Silent, r#"{"health":"silent","smart":[]}"#);
    check(
        Report::Answered(vec![device("nvme0", 5), unread("nvme1", Unread::Forbidden)]),
        concat!(
            r#"{"health":"failing","smart":[{"device":"nvme0","critical_warning":5,"warnings":["spare low","degraded"],"#,
            r#""notes":["media errors 2"],"percentage_used":3,"available_spare":90,"spare_threshold":10,"media_errors":2,"#,
            r#""read_bytes":0,"written_bytes":0,"celsius":50},{"device":"nvme1","unread":"forbidden"}]}"#,
        ),
    );
}

#[test]
fn metrics_are_of_drives_that_were_read() {
    let (read, never) = (DriveId(5), DriveId(6));
    with_known(|known| drop((known.insert(read, Known::default()), known.insert(never, Known::default()))));
    answered(read, Path::new(DIR), vec![device("nvme0", 9)]);
    answered(never, Path::new(DIR), vec![unread("nvme1", Unread::Forbidden)]);
    let text = metrics([read, never].into_iter());
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let expect = [
        ("failing", "1"),
        ("critical_warning", "9"),
        ("spare_ratio", "0.9"),
        ("worn_ratio", "0.03"),
        ("media_errors", "2"),
        ("temperature_celsius", "50"),
    ];
    let expect = expect.map(|(name, value)| format!("hafiz_drive_{name}{{drive=\"{read}\",device=\"nvme0\"}} {value}"));
    assert_eq!(lines, expect);
}
