//! One run of the server: check, start the shards, open the store, listen, and stop in order.

use std::cell::RefCell;
use std::io::{self, IsTerminal};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fronts::{FrontConfig, Health, MetricsAccess, S3Front};
use http::{CertStore, Stop};
use iam::{Identity, Snapshot};
use ops::{Ops, Site};
use rt::net::Listener;
use rt::sync::{Watch, join_all};
use rt::{JoinHandle, ShardId};
use s3::reply::Owner;

use crate::banner::{self, Banner};
use crate::credentials::{self, Origin};
use crate::machine;
use crate::plan::{self, Plan};
use crate::process;
use crate::settings::Settings;

/// How often the health of writes is looked at.
const WRITES_INTERVAL: Duration = Duration::from_secs(1);
/// How often the certificate files are looked at.
const CERTIFICATES_INTERVAL: Duration = Duration::from_secs(10);
/// How often drives are asked how they do. They notice wear over days; what fails at once shows by itself.
const SMART_INTERVAL: Duration = Duration::from_secs(600);
/// What the canonical id of the owner is padded to: as long as those of AWS.
const OWNER_ID_LEN: usize = 64;

/// What all shards of this run share.
struct Run {
    settings: Settings,
    plan: Plan,
    certificates: Option<Arc<CertStore>>,
    /// What to mend, found so far.
    warnings: Vec<String>,
    /// Of each shard.
    connections_max: usize,
    health: Arc<Health>,
    /// Set while the store is open or being closed: a signal then asks for an orderly end.
    is_open: AtomicBool,
    outcome: Mutex<Result<(), String>>,
}

/// What a shard needs to answer requests.
#[derive(Clone)]
struct Service {
    identities: Arc<Snapshot>,
    owner: Owner,
}

/// The listener of one shard.
struct Serving {
    stop: Rc<Stop>,
    done: JoinHandle<()>,
}

thread_local! {
    static SERVING: RefCell<Option<Serving>> = const { RefCell::new(None) };
}

/// Serves until a signal. `ignored`: variables that mean nothing here.
///
/// Exit code: 0 after an orderly stop, 1 when the start was refused, 2 when the settings make no sense.
pub(crate) fn run(settings: Settings, ignored: &[String]) -> ExitCode {
    if let Some(level) = settings.log_level {
        telemetry::set_level(level);
    }
    if settings.dirs.is_empty() {
        return crate::refuse_usage("no directory was given: write hafiz server DIR...");
    }
    let plan = match Plan::here(&settings) {
        Ok(plan) => plan,
        Err(error) => return crate::refuse_usage(&error),
    };
    let open_files = rt::check::raise_open_files();
    let (certificates, mut warnings) = match prepare(&settings, &plan, ignored) {
        Ok(prepared) => prepared,
        Err(error) => return crate::refuse(&error),
    };
    let connections_max = plan::connections_max(settings.connections_max, plan.shards, open_files);
    if connections_max < settings.connections_max {
        warnings.push(format!("{connections_max} connections per shard instead of connections-max: raise LimitNOFILE"));
    }
    let config = plan.rt_config();
    let run = Arc::new(Run {
        settings,
        plan,
        certificates,
        warnings,
        connections_max,
        health: Arc::new(Health::new()),
        is_open: AtomicBool::new(false),
        outcome: Mutex::new(Ok(())),
    });
    let shared = run.clone();
    let started = rt::run(config, move |shard| {
        let run = shared.clone();
        Box::pin(async move {
            // The other shards serve the calls of shard 0 until it has finished.
            if shard == ShardId(0) {
                let outcome = lead(&run).await;
                *run.outcome.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
            }
        })
    });
    if let Err(error) = started {
        return crate::refuse(&format!("{error}; hafiz doctor says more"));
    }
    let outcome = run.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => crate::refuse(&error),
    }
}

/// What can be refused before any drive is touched.
fn prepare(
    settings: &Settings,
    plan: &Plan,
    ignored: &[String],
) -> Result<(Option<Arc<CertStore>>, Vec<String>), String> {
    probe(settings)?;
    let certificates = plan::certificates(settings).map(CertStore::open).transpose();
    let certificates = certificates.map_err(|error| format!("TLS: {error}"))?.map(Arc::new);
    let findings = rt::check::check(&plan::places(settings), plan.locked_bytes());
    let (fatal, mild): (Vec<_>, Vec<_>) =
        findings.into_iter().partition(|finding| finding.severity == rt::check::Severity::Fatal);
    if !fatal.is_empty() {
        let lines: Vec<String> = fatal.iter().map(ToString::to_string).collect();
        return Err(lines.join("\nhafiz: "));
    }
    let mut warnings: Vec<String> = mild.iter().map(ToString::to_string).collect();
    warnings.extend(machine::sharing_device(&settings.dirs).iter().map(|group| sharing_warning(group)));
    warnings.extend(ignored.iter().map(|variable| format!("{variable} means nothing here: remove it")));
    Ok((certificates, warnings))
}

pub(crate) fn sharing_warning(group: &[&std::path::PathBuf]) -> String {
    let names: Vec<String> = group.iter().map(|dir| dir.display().to_string()).collect();
    format!(
        "{} share a device: its failure takes them all, and they are no faster than one; give each a device of its own",
        names.join(", ")
    )
}

/// Asks whether the address is free. With SO_REUSEPORT, which the shards need among themselves, the kernel would let a
/// second server of the same user share it.
fn probe(settings: &Settings) -> Result<(), String> {
    let mut failure = None;
    for address in settings.address.candidates() {
        if address.port() == 0 {
            return Ok(());
        }
        match TcpListener::bind(address) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(cannot_listen(address, &error)),
            Err(error) => failure = Some(cannot_listen(address, &error)),
        }
    }
    failure.map_or(Ok(()), Err)
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{address} is in use by another process: stop that one, or choose another with --address")
        }
        io::ErrorKind::PermissionDenied => format!(
            "{address}: {error}: ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities), or choose \
             another with --address"
        ),
        io::ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine: see --address"),
        _ => format!("listen on {address}: {error}"),
    }
}

/// The life of shard 0, which leads the others.
async fn lead(run: &Arc<Run>) -> Result<(), String> {
    let stopping = Rc::new(Watch::new(false));
    drop(rt::spawn(heed_signals(run.clone(), stopping.clone())));
    let config = run.plan.store_config(&run.settings);
    let summary = store::open(config).await.map_err(|error| error.to_string())?;
    run.is_open.store(true, Relaxed);
    let outcome = serve(run, &summary, &stopping).await;
    run.health.set_ready(false);
    stop_listening().await;
    store::close().await;
    outcome
}

/// From the open store to the signal.
async fn serve(run: &Arc<Run>, summary: &store::StartSummary, stopping: &Watch<bool>) -> Result<(), String> {
    let deployment = summary.deployment.to_string();
    let (settings, named) = (run.settings.clone(), deployment.clone());
    let credentials = rt::offload(move || credentials::of_root(&settings, &named)).await?;
    let owner = Owner { id: format!("{deployment:0>OWNER_ID_LEN$}"), display_name: credentials.user.clone() };
    let root = Identity::new(&credentials.user, &credentials.password, &owner.id, &owner.display_name)
        .map_err(|error| format!("root {error}"))?;
    let service = Service { identities: Arc::new(Snapshot::new(root)), owner };
    let address = listen_everywhere(run, &service).await?;
    run.health.set_ready(true);
    drop(rt::spawn(watch_writes(run.clone())));
    drop(rt::spawn(watch_smart(run.clone())));

    let mut warnings = run.warnings.clone();
    if let Origin::Kept { file, readable_by_others: true } = &credentials.origin {
        warnings.push(format!("others may read {0}: chmod 600 {0}", file.display()));
    }
    let endpoints = banner::endpoints(address, run.certificates.is_some());
    let banner = Banner {
        summary,
        plan: &run.plan,
        credentials: &credentials,
        endpoints: &endpoints,
        warnings: &warnings,
        is_terminal: io::stdout().is_terminal(),
    };
    banner::say(&banner.render());
    banner::say(&format!("listening on {}\n", endpoints[0]));

    drop(rt::spawn(process::watch()));
    if let Some(certificates) = &run.certificates {
        drop(rt::spawn(reload_certificates(certificates.clone())));
    }
    stopping.wait_for(|stopping| stopping.then_some(())).await;
    Ok(())
}

/// One listener per shard, all on the port that shard 0 gets.
async fn listen_everywhere(run: &Arc<Run>, service: &Service) -> Result<SocketAddr, String> {
    let address = start_listening(run.clone(), service.clone(), run.settings.address.candidates())?;
    for shard in 1..rt::shard_count() {
        let (run, service) = (run.clone(), service.clone());
        let listen = move || async move { start_listening(run, service, vec![address]).map(drop) };
        rt::call(ShardId(shard), listen).await?;
    }
    Ok(address)
}

/// Listens on this shard, on the first address that can be had.
fn start_listening(run: Arc<Run>, service: Service, addresses: Vec<SocketAddr>) -> Result<SocketAddr, String> {
    let mut failure = "no address to listen on".to_owned();
    let bound = addresses.into_iter().find_map(|address| match Listener::bind(address, true) {
        Ok(listener) => Some(listener),
        Err(error) => {
            failure = cannot_listen(address, &error);
            None
        }
    });
    let listener = bound.ok_or(failure)?;
    let address = listener.local_addr();
    let settings = &run.settings;
    let site = Site { region: settings.region.clone(), owner: service.owner };
    let metrics = match &settings.metrics_token {
        Some(token) => MetricsAccess::Bearer(token.clone()),
        None if settings.metrics_open => MetricsAccess::Everyone,
        None => MetricsAccess::Off,
    };
    let config = FrontConfig {
        domains: settings.domains.clone(),
        metrics,
        requests_max: settings.requests_max,
        ..FrontConfig::default()
    };
    let ops = Ops::new(store::here(), site).with_buffer_waiters_max(settings.requests_max / 2);
    let front = S3Front::new(config, ops, service.identities, run.health.clone());
    let stop = Rc::new(Stop::new());
    let done = rt::spawn(fronts::serve(
        listener,
        run.certificates.clone(),
        plan::limits(settings, run.connections_max),
        Rc::new(front),
        stop.clone(),
        settings.stop_timeout,
    ));
    let before = SERVING.replace(Some(Serving { stop, done }));
    assert!(before.is_none(), "a shard listens once");
    Ok(address)
}

/// Returns when no shard serves any more.
async fn stop_listening() {
    let stops = (0..rt::shard_count()).map(|shard| {
        rt::call(ShardId(shard), || async {
            if let Some(serving) = SERVING.take() {
                serving.stop.stop();
                serving.done.await;
            }
        })
    });
    join_all(stops).await;
}

/// The first signal asks for an orderly end, the second ends the process at once. A start that is not over yet has
/// promised nothing to anyone: it ends at once, too.
async fn heed_signals(run: Arc<Run>, stopping: Rc<Watch<bool>>) {
    loop {
        match rt::signal::wait().await {
            Ok(_) if run.is_open.load(Relaxed) && !stopping.get() => {
                telemetry::info!("stopping: requests in flight may finish"; at_most_s = run.settings.stop_timeout.as_secs());
                stopping.set(true);
            }
            Ok(_) => std::process::exit(if stopping.get() { 1 } else { 0 }),
            Err(error) => {
                telemetry::error!("signals cannot be waited for: only SIGKILL ends this process"; error = error);
                return;
            }
        }
    }
}

/// Keeps the health of the cluster's endpoint true: whether commits can become durable.
async fn watch_writes(run: Arc<Run>) {
    while run.health.is_ready() {
        run.health.set_writable(store::here().accepts_writes());
        rt::time::sleep(WRITES_INTERVAL).await;
    }
}

/// Has the drives asked how they do, and what is wrong with them logged and shown in the metrics.
async fn watch_smart(run: Arc<Run>) {
    while run.health.is_ready() {
        ops::admin::ask_drives(&store::here()).await;
        rt::time::sleep(SMART_INTERVAL).await;
    }
}

/// Looks at the certificate files for as long as the shard lives.
async fn reload_certificates(certificates: Arc<CertStore>) {
    loop {
        rt::time::sleep(CERTIFICATES_INTERVAL).await;
        let store = certificates.clone();
        match rt::offload(move || store.reload_if_changed()).await {
            Ok(true) => telemetry::info!("certificates were read again"),
            Ok(false) => {}
            Err(error) => {
                telemetry::error!("the changed certificates cannot be used; the old ones stay"; error = error);
            }
        }
    }
}
