//! Sessions: options and temporary tables that outlive a request.
//!
//! A client is told from others by the cookie that it sends, else by the bearer token that this server
//! gave it, else by its connection. Clients of the last sort are offered a cookie, a new one each time; one
//! that keeps it finds its session from other connections too. A session begins when there is something to
//! remember, and ends when the client closes it, soon after its connection ends (if that is all it is known
//! by), or when it was idle for long.
//!
//! Proxies carry several clients over one connection. As soon as that shows, by a proxy's header or by what
//! another client sends, nobody is known by the connection any more: see [`Sharing`].

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

use super::flight::{TOKEN, user};
use super::flight_sql::described_result;
use super::headers::{self, header, name_of};
use super::ipc::{Framing, MessageSize};
use super::transport::{ConnectionId, Peer};
use crate::engine::{
    Endpoints, Environment, Origin, Query, Scope, TemporaryTables, TypeProfile, time_field, times,
};
use crate::error::{Error, Result};
use crate::safeguard::Safeguard;

/// How long a client may take to come back with its cookie after its connection ended.
const GRACE: Duration = Duration::from_secs(60);

/// The name of the cookie that the Flight specification suggests.
const COOKIE: &str = "arrow_flight_session_id";

/// What a client is told that would need a session where there is none.
const NO_SESSION: &str = "this connection carries several clients, as those of proxies do, so that SET, USE and \
    temporary tables need a client that shows who it is: turn on cookies (ADBC: \
    adbc.flight.sql.rpc.with_cookie_middleware=true; Go: flight.NewClientCookieMiddleware(); Java: \
    ClientCookieMiddleware; JDBC has them on), or sign in by a handshake and send its token";

/// The headers that proxies add.
const OF_PROXIES: [&str; 2] = ["via", "forwarded"];
const BEGIN_OF_PROXIES: [&str; 2] = ["x-forwarded-", "x-envoy-"];

/// How the user agents of gRPC's C++ core begin: those of pyarrow, R and C++ itself.
const CPP_CORE: &str = "grpc-c++";

/// The name of users who give none.
pub(super) const ANONYMOUS: &str = "anonymous";

/// How the user agents of gRPC's Java implementation begin: those of JDBC and Spark.
const JAVA: &str = "grpc-java";

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
    /// The value of the cookie.
    Cookie(String),
    Bearer(String),
    /// The connection, of a client that sends neither.
    Connection(ConnectionId),
}

/// Whether a connection is one client's, by what its requests have shown so far.
///
/// A client that keeps cookies sends the one that it was offered with all later requests. So a second cookie, or none
/// after one, is another client's.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    cookie: Option<String>,
    is_shared: bool,
}

impl Sharing {
    /// Takes note of a request with or without a cookie, and says whether the connection has several clients.
    fn is_shared_by(&self, cookie: Option<&str>, through_proxy: bool) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_shared |= through_proxy || seen.cookie.is_some() && seen.cookie.as_deref() != cookie;
        if seen.cookie.is_none() {
            seen.cookie = cookie.map(str::to_owned);
        }
        seen.is_shared
    }
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
    /// The cookie that was offered in answer to the request that began the session, and is its key once it comes back.
    offered: Option<String>,
}

impl Session {
    fn begun_by(client: &Client) -> Self {
        Self {
            id: Uuid::new_v4().to_string(),
            user: client.user.clone(),
            scope: Mutex::default(),
            temporary: Arc::default(),
            since: SystemTime::now(),
            used: Mutex::new(Instant::now()),
            offered: client.offered.clone(),
        }
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
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
    /// `None` where nothing tells it from others.
    key: Option<SessionKey>,
    /// A cookie for a client that showed no key of its own.
    offered: Option<String>,
    /// The user's name, or [`ANONYMOUS`].
    pub(super) user: String,
    /// The type profile of the header `x-airstrip-types`.
    types: Option<TypeProfile>,
    /// The endpoints that it wants a dataset in: the header `x-airstrip-endpoints`.
    pub(super) endpoints: Option<Endpoints>,
    /// How the client wants its messages: the headers `x-airstrip-compression` and
    /// `x-airstrip-message-size`, else what is known of its kind.
    pub(super) framing: Framing,
    /// Whether the request came through a proxy that says so.
    pub(super) behind_proxy: bool,
    /// Whether it is one of Java's: what is known of the JDBC driver holds for it.
    pub(super) is_java: bool,
}

/// A cookie that nobody else is offered: who has it has the session.
fn new_cookie(peer: &Peer) -> String {
    let random = || Uuid::new_v4().to_string();
    if Safeguard::RandomCookies.stands() { random() } else { format!("{:?}", peer.connection) }
}

impl Client {
    /// Reads a request's metadata.
    fn of(metadata: &MetadataMap, peer: &Peer) -> Result<Self> {
        headers::check(metadata)?;
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
        let behind_proxy = is_through_proxy(metadata);
        let (key, offered) = match (cookie, ours) {
            (None, Some(token)) => (Some(SessionKey::Bearer(token.to_owned())), None),
            (cookie, _) => {
                let is_shared = peer.sharing.is_shared_by(cookie.as_deref(), behind_proxy);
                match cookie {
                    Some(cookie) => (Some(SessionKey::Cookie(cookie)), None),
                    None => (
                        (!is_shared).then_some(SessionKey::Connection(peer.connection)),
                        Some(new_cookie(peer)),
                    ),
                }
            }
        };
        let user = user(metadata).unwrap_or_else(|| ANONYMOUS.to_owned());
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
        let is_java = text("user-agent").is_some_and(|agent| agent.starts_with(JAVA));
        let framing = Framing { size, compression };
        Ok(Self { key, offered, user, types, endpoints, framing, behind_proxy, is_java })
    }

    /// The client of a request.
    pub(super) fn of_request<T>(request: &tonic::Request<T>) -> Result<Self> {
        let peer = request.extensions().get::<Peer>();
        let peer = peer.ok_or_else(|| Error::internal("the request came in without its connection"))?;
        Self::of(request.metadata(), peer)
    }

    /// The schema of a query's result as this client is shown it, everywhere.
    pub(super) fn shown(&self, query: &Query) -> SchemaRef {
        self.described(query.schema(), query.origins())
    }

    /// The same, of a result with these columns. What drivers look for in the metadata of columns is for those that
    /// look: others would show it to people, and store it with what they read.
    pub(super) fn described(&self, columns: &SchemaRef, origins: &[Option<Origin>]) -> SchemaRef {
        if self.is_java { described_result(columns, origins) } else { Arc::clone(columns) }
    }

    /// What a thing of this client's is known to belong to; `None` where the connection is all that is
    /// known, which a client may replace by another at any time.
    pub(super) fn owner(&self) -> Option<&SessionKey> {
        self.key.as_ref().filter(|_| self.offered.is_none())
    }
}

fn is_through_proxy(metadata: &MetadataMap) -> bool {
    metadata.keys().any(|key| {
        let name = name_of(&key);
        OF_PROXIES.contains(&name) || BEGIN_OF_PROXIES.iter().any(|begin| name.starts_with(begin))
    })
}

/// All sessions.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    by_key: Cache<SessionKey, Arc<Session>>,
    /// The connections of those that began by one, by the cookie that their clients were offered.
    offers: Cache<String, ConnectionId>,
    /// Held while a session gets another key.
    moving: Arc<Mutex<()>>,
}

impl Sessions {
    pub(super) fn new(options: SessionOptions) -> Self {
        let by_key = Cache::builder()
            .max_capacity(options.most)
            .time_to_idle(options.idle)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let offers = Cache::builder().max_capacity(options.most).time_to_live(options.idle).build();
        Self { by_key, offers, moving: Arc::default() }
    }

    /// The client's session, if it has one.
    pub(super) fn find(&self, client: &Client) -> Option<Arc<Session>> {
        let key = client.key.as_ref()?;
        let session = self.by_key.get(key).or_else(|| self.adopted(key))?;
        session.touch();
        Some(session)
    }

    /// The session whose client was offered this cookie, and shows now that it keeps it.
    fn adopted(&self, key: &SessionKey) -> Option<Arc<Session>> {
        let SessionKey::Cookie(cookie) = key else { return None };
        let _moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connection) = self.offers.remove(cookie) else { return self.by_key.get(key) };
        let session = self.by_key.remove(&SessionKey::Connection(connection))?;
        self.by_key.insert(key.clone(), Arc::clone(&session));
        Some(session)
    }

    /// The client's session, which begins here if there is none.
    ///
    /// # Errors
    ///
    /// Fails if nothing tells the client from others.
    pub(super) fn open(&self, client: &Client) -> Result<Arc<Session>> {
        if let Some(session) = self.find(client) {
            return Ok(session);
        }
        let key = client.key.as_ref().ok_or_else(|| Error::precondition(NO_SESSION))?;
        let session = self.by_key.get_with_by_ref(key, || Arc::new(Session::begun_by(client)));
        if let (SessionKey::Connection(connection), Some(cookie)) = (key, &session.offered) {
            self.offers.insert(cookie.clone(), *connection);
        }
        Ok(session)
    }

    /// The cookie for a client that showed no key of its own: one that leads to its session if it has just begun.
    pub(super) fn offer(&self, client: &Client) -> Option<AsciiMetadataValue> {
        let offered = client.offered.as_ref()?;
        // Another one would lead away from the session that the client has by its connection.
        let session = client.key.as_ref().and_then(|key| self.by_key.get(key));
        if session.is_some_and(|session| session.offered.as_ref() != Some(offered)) {
            return None;
        }
        AsciiMetadataValue::try_from(format!("{COOKIE}={offered}; Path=/; HttpOnly")).ok()
    }

    /// Ends the client's session.
    pub(super) fn close(&self, client: &Client) {
        // First it gets the key that it is known by now.
        if self.find(client).is_some()
            && let Some(key) = &client.key
        {
            self.by_key.invalidate(key);
        }
    }

    /// Ends the session of a connection that is gone, unless its client comes back to it soon.
    pub(super) fn forget(&self, connection: ConnectionId) {
        let key = SessionKey::Connection(connection);
        let Ok(runtime) = Handle::try_current() else { return };
        if self.by_key.contains_key(&key) {
            let sessions = self.by_key.clone();
            runtime.spawn(async move {
                tokio::time::sleep(GRACE).await;
                sessions.invalidate(&key);
            });
        }
    }

    /// What a statement of the client's runs in.
    pub(super) fn environment(&self, client: &Client) -> Environment {
        let environment = match self.find(client) {
            Some(session) => Environment::new(session.scope(), Arc::clone(&session.temporary)),
            None => Environment::default(),
        };
        with_types_of(client, environment)
    }

    /// The same for a statement that may leave something in the session.
    pub(super) fn lasting_environment(&self, client: &Client) -> Environment {
        if self.open(client).is_ok() {
            return self.environment(client);
        }
        let nowhere = Arc::new(TemporaryTables::refused(NO_SESSION));
        with_types_of(client, Environment::new(Scope::default(), nowhere))
    }

    /// The rows of `system.sessions`.
    pub(super) fn table(&self) -> Result<RecordBatch> {
        let sessions: Vec<Arc<Session>> = self.by_key.iter().map(|(_, session)| session).collect();
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

fn with_types_of(client: &Client, mut environment: Environment) -> Environment {
    environment.user.clone_from(&client.user);
    if let Some(types) = client.types {
        environment.scope.types = types;
    }
    environment
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

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Peer {
        Peer { connection: ConnectionId::new(), address: None, sharing: Arc::default() }
    }

    fn client(peer: &Peer, headers: &[(&'static str, &str)]) -> Client {
        let mut metadata = MetadataMap::new();
        for (name, value) in headers {
            metadata.insert(*name, value.parse().unwrap());
        }
        Client::of(&metadata, peer).unwrap()
    }

    /// What a client that keeps cookies sends after an answer.
    fn kept(sessions: &Sessions, client: &Client) -> String {
        let offer = sessions.offer(client).unwrap();
        offer.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    fn sessions() -> Sessions {
        Sessions::new(SessionOptions { most: 100, idle: Duration::from_secs(60) })
    }

    #[test]
    fn a_session_goes_from_the_connection_to_the_cookie_that_was_offered_when_it_began() {
        let (sessions, peer) = (sessions(), peer());
        let first = client(&peer, &[]);
        let session = sessions.open(&first).unwrap();
        let later = client(&peer, &[]);
        assert!(Arc::ptr_eq(&sessions.find(&later).unwrap(), &session));
        assert!(sessions.offer(&later).is_none(), "another cookie leads elsewhere");
        let cookie = kept(&sessions, &first);
        let elsewhere = client(&self::peer(), &[("cookie", &cookie)]);
        assert!(Arc::ptr_eq(&sessions.find(&elsewhere).unwrap(), &session));
        assert!(sessions.find(&client(&peer, &[])).is_none(), "it is the cookie's now");
    }

    #[test]
    fn no_two_offers_are_the_same() {
        let (sessions, peer) = (sessions(), peer());
        let offers: std::collections::HashSet<_> =
            (0..100).map(|_| kept(&sessions, &client(&peer, &[]))).collect();
        assert_eq!(offers.len(), 100);
        assert!(offers.iter().all(|offer| !offer.contains(&peer.connection.to_string())));
    }

    #[test]
    fn who_comes_through_a_proxy_without_a_cookie_has_no_session() {
        for header in
            [("via", "2 a"), ("x-forwarded-for", "::1"), ("forwarded", "for=_a"), ("x-envoy-x", "1")]
        {
            let (sessions, peer) = (sessions(), peer());
            sessions.open(&client(&peer, &[])).unwrap();
            let through = client(&peer, &[header]);
            assert!(sessions.find(&through).is_none() && sessions.open(&through).is_err(), "{header:?}");
            let cookie = kept(&sessions, &through);
            let known = client(&peer, &[header, ("cookie", &cookie)]);
            sessions.open(&known).unwrap();
            assert!(sessions.open(&client(&peer, &[])).is_err(), "the connection is shared from then on");
        }
    }

    #[test]
    fn two_cookies_or_none_after_one_are_of_several_clients() {
        let (sessions, peer) = (sessions(), peer());
        let (one, other) = (client(&peer, &[]), client(&peer, &[]));
        let (one, other) = (kept(&sessions, &one), kept(&sessions, &other));
        let one = sessions.open(&client(&peer, &[("cookie", &one)])).unwrap();
        assert!(sessions.open(&client(&peer, &[])).is_err());
        let other = sessions.open(&client(&peer, &[("cookie", &other)])).unwrap();
        assert!(!Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn closing_ends_the_session_of_nobody_else() {
        let (sessions, peer) = (sessions(), peer());
        let of = |cookie| client(&peer, &[("cookie", cookie)]);
        let (one, other) = ("arrow_flight_session_id=1", "arrow_flight_session_id=2");
        sessions.open(&of(one)).unwrap();
        sessions.open(&of(other)).unwrap();
        sessions.close(&of(one));
        sessions.close(&client(&peer, &[]));
        assert!(sessions.find(&of(one)).is_none() && sessions.find(&of(other)).is_some());
    }
}
