//! Sessions: options and temporary tables that outlive a request.
//!
//! A client is told from others by the cookie that it sends, else by the bearer token that this server
//! gave it, else by its connection. Clients of the last sort are offered a cookie; one that keeps it
//! finds its session from other connections too. A session begins when there is something to remember,
//! and ends when the client closes it, soon after its connection ends (if that is all it is known by), or
//! when it was idle for long.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arrow::array::{RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_ipc::CompressionType;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::runtime::Handle;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use uuid::Uuid;

use super::connection::{ConnectionId, Peer};
use super::frames::{Framing, MessageSize};
use super::handshake::{TOKEN, user};
use crate::engine::{Endpoints, Environment, Scope, TemporaryTables, TypeProfile, time_field, times};
use crate::error::{Error, Result};

/// How long a client may take to come back with its cookie after its connection ended.
const GRACE: Duration = Duration::from_secs(60);

/// The name of the cookie that the Flight specification suggests.
const COOKIE: &str = "arrow_flight_session_id";

/// How the user agents of gRPC's C++ core begin: those of pyarrow, R and C++ itself.
const CPP_CORE: &str = "grpc-c++";

/// The limits of sessions.
#[derive(Debug, Clone, Copy)]
pub struct SessionOptions {
    /// Sessions at once; the one that was idle for longest makes room for a new one.
    pub most: u64,
    /// How long a session is kept that nobody uses.
    pub idle: Duration,
}

/// How a client is told from others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum SessionKey {
    /// The value of the cookie; or the one that is offered to the connection.
    Cookie(String),
    Bearer(String),
}

/// What one client's requests share.
#[derive(Debug)]
pub(super) struct Session {
    /// For `system.sessions`: no secret, unlike the key.
    id: String,
    user: String,
    scope: Mutex<Scope>,
    temporary: Arc<TemporaryTables>,
    since: SystemTime,
    used: Mutex<Instant>,
    /// Whether the client has shown that it keeps its key, so that the session may outlive a connection.
    is_kept: AtomicBool,
}

impl Session {
    fn new(user: &str) -> Self {
        Self {
            id: Uuid::new_v4().to_string(),
            user: user.to_owned(),
            scope: Mutex::default(),
            temporary: Arc::default(),
            since: SystemTime::now(),
            used: Mutex::new(Instant::now()),
            is_kept: AtomicBool::new(false),
        }
    }

    fn touch(&self, client: &Client) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if client.has_key {
            self.is_kept.store(true, Ordering::Release);
        }
    }

    /// The options as they are now.
    pub(super) fn scope(&self) -> Scope {
        self.scope.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the options, all of `change` or nothing.
    pub(super) fn change(&self, change: impl FnOnce(&mut Scope) -> Result<()>) -> Result<()> {
        let mut scope = self.scope.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = scope.clone();
        change(&mut changed)?;
        *scope = changed;
        Ok(())
    }
}

/// Who sends a request, and what it brings along.
#[derive(Debug, Clone)]
pub(super) struct Client {
    key: SessionKey,
    /// Whether it sent the key itself; else the key is its connection's.
    has_key: bool,
    /// The user's name, or `anonymous`.
    pub(super) user: String,
    /// The type profile of the header `x-airstrip-types`.
    types: Option<TypeProfile>,
    /// The endpoints that it wants a dataset in: the header `x-airstrip-endpoints`.
    pub(super) endpoints: Option<Endpoints>,
    /// How the client wants its messages: the headers `x-airstrip-compression` and
    /// `x-airstrip-message-size`, else what is known of its kind.
    pub(super) framing: Framing,
}

impl Client {
    /// Reads a request's metadata.
    pub(super) fn of(metadata: &MetadataMap, connection: ConnectionId) -> Result<Self> {
        let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok());
        let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let ours = bearer.filter(|token| token.starts_with(TOKEN));
        let cookies = metadata.get_all("cookie").iter().filter_map(|value| value.to_str().ok());
        let cookie = cookies.flat_map(|line| line.split(';')).find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == COOKIE).then(|| value.trim_matches('"').to_owned())
        });
        let types = header(metadata, "x-airstrip-types")?.map(TypeProfile::parse).transpose()?;
        let compression = match header(metadata, "x-airstrip-compression")? {
            None | Some("none") => None,
            Some("lz4") => Some(CompressionType::LZ4_FRAME),
            Some("zstd") => Some(CompressionType::ZSTD),
            Some(other) => {
                let text = format!("x-airstrip-compression is none, lz4 or zstd, not {other:?}");
                return Err(Error::invalid(text));
            }
        };
        let (key, has_key) = match (cookie, ours) {
            (Some(cookie), _) => (SessionKey::Cookie(cookie), true),
            (None, Some(token)) => (SessionKey::Bearer(token.to_owned()), true),
            (None, None) => (SessionKey::Cookie(connection.to_string()), false),
        };
        let user = user(metadata).unwrap_or_else(|| "anonymous".to_owned());
        let size = match (header(metadata, "x-airstrip-message-size")?, text("user-agent")) {
            (Some("usual"), _) => MessageSize::Usual,
            (Some("large"), _) => MessageSize::Roomy,
            (Some(other), _) => {
                let text = format!("x-airstrip-message-size is usual or large, not {other:?}");
                return Err(Error::invalid(text));
            }
            (None, Some(agent)) if agent.starts_with(CPP_CORE) => MessageSize::Roomy,
            (None, _) => MessageSize::Usual,
        };
        let endpoints = header(metadata, "x-airstrip-endpoints")?.map(Endpoints::parse).transpose()?;
        Ok(Self { key, has_key, user, types, endpoints, framing: Framing { size, compression } })
    }

    /// The client of a request.
    pub(super) fn of_request<T>(request: &tonic::Request<T>) -> Result<Self> {
        let peer = request.extensions().get::<Peer>();
        let peer = peer.ok_or_else(|| Error::internal("the request came in without its connection"))?;
        Self::of(request.metadata(), peer.connection)
    }

    /// What a thing of this client's is known to belong to; `None` where the connection is all that is
    /// known, which a client may replace by another at any time.
    pub(super) fn owner(&self) -> Option<&SessionKey> {
        self.has_key.then_some(&self.key)
    }

    /// The cookie for a client that is known by nothing but its connection.
    pub(super) fn offer(&self) -> Option<AsciiMetadataValue> {
        match &self.key {
            SessionKey::Cookie(id) if !self.has_key => {
                AsciiMetadataValue::try_from(format!("{COOKIE}={id}; Path=/; HttpOnly")).ok()
            }
            _ => None,
        }
    }
}

/// The text of a header.
pub(super) fn header<'a>(metadata: &'a MetadataMap, name: &str) -> Result<Option<&'a str>> {
    let Some(value) = metadata.get(name) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| Error::invalid(format!("the header {name} is not ASCII text")))
}

/// All sessions.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    sessions: Cache<SessionKey, Arc<Session>>,
}

impl Sessions {
    pub(super) fn new(options: SessionOptions) -> Self {
        let sessions = Cache::builder()
            .max_capacity(options.most)
            .time_to_idle(options.idle)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { sessions }
    }

    /// The client's session, if it has one.
    pub(super) fn find(&self, client: &Client) -> Option<Arc<Session>> {
        let session = self.sessions.get(&client.key)?;
        session.touch(client);
        Some(session)
    }

    /// The client's session, which begins here if there is none.
    pub(super) fn open(&self, client: &Client) -> Arc<Session> {
        let session = self.sessions.get_with(client.key.clone(), || Arc::new(Session::new(&client.user)));
        session.touch(client);
        session
    }

    /// Ends the client's session, and says whether there was one.
    pub(super) fn close(&self, client: &Client) -> bool {
        self.sessions.remove(&client.key).is_some()
    }

    /// Ends the session of a connection that is gone, unless its client comes back to it soon.
    pub(super) fn forget(&self, connection: ConnectionId) {
        let key = SessionKey::Cookie(connection.to_string());
        let (Some(session), Ok(runtime)) = (self.sessions.get(&key), Handle::try_current()) else { return };
        let sessions = self.sessions.clone();
        runtime.spawn(async move {
            tokio::time::sleep(GRACE).await;
            if !session.is_kept.load(Ordering::Acquire) {
                sessions.invalidate(&key);
            }
        });
    }

    /// What a statement of the client's runs in.
    pub(super) fn environment(&self, client: &Client) -> Environment {
        let mut environment = match self.find(client) {
            Some(session) => Environment::new(session.scope(), Arc::clone(&session.temporary)),
            None => Environment::default(),
        };
        if let Some(types) = client.types {
            environment.scope.types = types;
        }
        environment
    }

    /// The same for a statement that may leave something in the session.
    pub(super) fn lasting_environment(&self, client: &Client) -> Environment {
        self.open(client);
        self.environment(client)
    }

    /// The rows of `system.sessions`.
    pub(super) fn table(&self) -> Result<RecordBatch> {
        let sessions: Vec<Arc<Session>> = self.sessions.iter().map(|(_, session)| session).collect();
        let idle = |session: &Arc<Session>| {
            session.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed().as_secs()
        };
        let options = |session: &Arc<Session>| {
            let options = session.scope().options();
            options.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
        };
        RecordBatch::try_new(
            sessions_schema(),
            vec![
                Arc::new(StringArray::from_iter_values(sessions.iter().map(|session| &session.id))),
                Arc::new(StringArray::from_iter_values(sessions.iter().map(|session| &session.user))),
                Arc::new(times(sessions.iter().map(|session| Some(session.since)))),
                Arc::new(UInt64Array::from_iter_values(sessions.iter().map(idle))),
                Arc::new(StringArray::from_iter_values(sessions.iter().map(options))),
                Arc::new(UInt64Array::from_iter_values(
                    sessions.iter().map(|session| session.temporary.all().len() as u64),
                )),
            ],
        )
        .map_err(|error| Error::internal(format!("listing sessions: {error}")))
    }
}

/// The schema of `system.sessions`.
pub(super) fn sessions_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("user", DataType::Utf8, false),
        time_field("since", false),
        Field::new("idle_seconds", DataType::UInt64, false),
        Field::new("options", DataType::Utf8, false),
        Field::new("temporary_tables", DataType::UInt64, false),
    ]))
}
