//! `airstrip serve`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::disable_transparent_huge_pages;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;

use super::{root, telemetry, variables};
use crate::catalog::Catalog;
use crate::config::{Config, Settings};
use crate::engine::{Engine, usable_memory};
use crate::error::{Error, ErrorKind, Result};
use crate::server::Server;
use crate::storage::{Root, blocking, cores, descriptor_limit, reserved_descriptors};
use crate::{failpoint, safeguard};

/// What is logged: of the Delta library only what is wrong, since it tells of every look at a log.
const DEFAULT_LOG: &str = "info,buoyant_kernel=warn,deltalake_core=warn";

/// The code of a process that a signal ended, as shells give it for SIGINT.
const FORCED: u8 = 130;

/// Serves until a signal comes.
pub(super) fn serve(settings: Settings, file: Option<&Path>, give_back: fn()) -> Result<ExitCode> {
    let settings = match file {
        Some(path) => settings.or(read_settings(path)?),
        None => settings,
    };
    telemetry::init(settings.log_format.unwrap_or_default(), settings.log.as_deref().unwrap_or(DEFAULT_LOG))?;
    variables::check()?;
    safeguard::check()?;
    failpoint::check()?;
    let mut config = settings.resolve(usable_memory(), cores().get())?;
    root::check(&config.root)?;
    if !config.read_only {
        root::check_there(&config.root, config.create)?;
    }
    raise_file_limit();
    leave_descriptors(&mut config);
    if !config.huge_pages {
        keep_pages_small();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::internal(format!("cannot start the runtime: {error}")))?;
    let done = runtime.block_on(run(config, give_back));
    // What is still at work has had its time to drain; a publish on its way is atomic either way.
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

async fn run(config: Config, give_back: fn()) -> Result<ExitCode> {
    let signals = Signals::new()?;
    let root = Root::open(&config.root, config.read_only)?;
    let spill_dir = root.spill_dir();
    let sweeping = sweep_period(config.catalog.trash.retention);
    let catalog = Arc::new(Catalog::new(root, config.catalog)?);
    if !config.read_only {
        tokio::spawn(sweep(Arc::clone(&catalog), sweeping));
    }
    let engine = crate::engine::EngineOptions { spill_dir, ..config.engine };
    let engine = Arc::new(Engine::new(Arc::clone(&catalog), &engine)?);
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        Error::new(ErrorKind::Unavailable, format!("cannot listen on {}: {error}", config.listen))
    })?;
    let server = Server::new(Arc::clone(&engine), config.server)?;
    // After the caches, whose memory it is to give back too.
    engine.add_relief(Box::new(give_back));
    drop(engine);
    announce(&listener, &catalog).await?;

    let (stop, stopped) = oneshot::channel();
    let serving = server.serve(listener, async {
        let _ = stopped.await;
    });
    tokio::select! {
        () = serving => Ok(ExitCode::SUCCESS),
        () = signals.second(stop) => {
            tracing::warn!("forced to stop");
            // Not by return: the runtime would wait for work that nobody waits for any more.
            std::process::exit(FORCED.into());
        }
    }
}

/// How often the trash is looked through: no entry stays much longer than it may.
fn sweep_period(retention: Duration) -> Duration {
    let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(600));
    if retention.is_zero() { longest } else { (retention / 10).clamp(shortest, longest) }
}

/// Keeps the trash within its limits, from the start on.
async fn sweep(catalog: Arc<Catalog>, period: Duration) {
    let mut turns = tokio::time::interval(period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let catalog = Arc::clone(&catalog);
        if let Err(error) = blocking(move || catalog.sweep_trash()).await {
            tracing::warn!(%error, "the trash could not be swept");
        }
    }
}

/// Says where the server is, on a line of standard output of its own.
async fn announce(listener: &TcpListener, catalog: &Arc<Catalog>) -> Result<()> {
    let address = listener.local_addr().map_err(|error| Error::internal(error.to_string()))?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "everyone who reaches this address can read and write all datasets");
    }
    let counting = Arc::clone(catalog);
    let count = blocking(move || {
        Ok(counting
            .schemas()?
            .iter()
            .map(|schema| counting.list(schema).map_or(0, |all| all.len()))
            .sum::<usize>())
    });
    let count = count.await?;
    let root = catalog.root().area().path().display();
    let version = env!("CARGO_PKG_VERSION");
    let plural = if count == 1 { "" } else { "s" };
    let line = format!("airstrip {version} serves {root} at grpc://{address} ({count} dataset{plural})\n");
    let mut out = std::io::stdout();
    // Nobody may be there to read it; the server serves all the same.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    Ok(())
}

/// SIGTERM and SIGINT: the first asks the server to stop, the second makes it.
struct Signals {
    term: Signal,
    interrupt: Signal,
    /// Not to be ended by it: a file that grows too large (ulimit -f) is an error of who writes it.
    _too_large: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|error| Error::internal(format!("signals: {error}")));
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            _too_large: listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Passes the first signal on, and returns at the second.
    async fn second(mut self, stop: oneshot::Sender<()>) {
        self.next().await;
        let _ = stop.send(());
        self.next().await;
    }
}

fn read_settings(path: &Path) -> Result<Settings> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::invalid(format!("cannot read {}: {error}", path.display())))?;
    Settings::parse(&text)
}

/// Large pages hold on to memory of which only a part is in use: a fifth of what queries and transfers take.
fn keep_pages_small() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "memory comes in pages as large as the system likes");
    }
}

/// Fewer descriptors than these do not serve many clients and datasets of many files.
const FEW_DESCRIPTORS: u64 = 1024;

/// Datasets of many files need many descriptors: take as many as the system allows.
fn raise_file_limit() {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    let limit = descriptor_limit().unwrap_or(u64::MAX);
    if limit < FEW_DESCRIPTORS {
        tracing::warn!(limit, "few files and connections may be open at once; raise the limit (ulimit -Hn)");
    } else {
        tracing::info!(limit, before = before.current, "files and connections that may be open at once");
    }
}

/// Connections may take half of the descriptors, and none of those that are reserved.
fn leave_descriptors(config: &mut Config) {
    let Some(limit) = descriptor_limit() else { return };
    let most = usize::try_from((limit - reserved_descriptors(limit)) / 2).unwrap_or(usize::MAX).max(1);
    if most < config.server.max_connections {
        tracing::warn!(most, "fewer connections at once than max-connections: there are too few descriptors");
        config.server.max_connections = most;
    }
}
