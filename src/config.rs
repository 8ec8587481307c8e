//! Settings: from flags, from `AIRSTRIP_*` variables, from a TOML file, in that order of strength.
//!
//! Every setting has one name, in three spellings: `--idle-timeout`, `AIRSTRIP_IDLE_TIMEOUT`, and
//! `idle-timeout` in the file. Nothing here touches files or the machine.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use serde::Deserialize;
use url::Url;

use crate::catalog::{CatalogOptions, MaintenanceOptions, ReplaceOptions};
use crate::engine::{AdmissionOptions, EngineOptions, MemoryBudget, SqlLimits};
use crate::error::{Error, Result};
use crate::server::{
    DownloadOptions, HttpOptions, ServerOptions, SessionOptions, StatementsOptions, UploadOptions,
};
use crate::storage::{BloomFilters, Codec, StagingOptions, TrashOptions};

/// The settings as they were given; what is `None` was not.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// The directory to serve [default: ./datasets, created if it is missing]
    #[arg(env = "AIRSTRIP_ROOT", value_name = "ROOT")]
    pub root: Option<PathBuf>,

    /// Create the directory to serve if it is missing
    #[arg(
        long,
        env = "AIRSTRIP_CREATE",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub create: Option<bool>,

    /// The address to listen on; port 0 picks a free one [default: 127.0.0.1:8815]
    #[arg(long, env = "AIRSTRIP_LISTEN", value_name = "ADDR")]
    pub listen: Option<SocketAddr>,

    /// Serve without ever writing: any number of such servers may share a root
    #[arg(
        long,
        env = "AIRSTRIP_READ_ONLY",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub read_only: Option<bool>,

    /// A directory besides the root that `register_dataset` may point into; may be given several times
    #[arg(long, env = "AIRSTRIP_REGISTER_FROM", value_name = "DIR", value_delimiter = ',')]
    pub register_from: Option<Vec<PathBuf>>,

    /// A URI that clients are told to fetch from, e.g. grpc://host:8815; may be given several times
    /// [default: none, the connection that asked]
    #[arg(long, env = "AIRSTRIP_ADVERTISE", value_name = "URI", value_delimiter = ',')]
    pub advertise: Option<Vec<String>>,

    /// How long what was dropped or replaced can come back; 0: not at all [default: 7days]
    #[arg(long, env = "AIRSTRIP_TRASH_RETENTION", value_name = "TIME")]
    pub trash_retention: Option<Period>,

    /// Disk that what was dropped or replaced may take; the oldest goes first [default: a tenth of the file system]
    #[arg(long, env = "AIRSTRIP_TRASH_LIMIT", value_name = "SIZE")]
    pub trash_limit: Option<ByteSize>,

    /// The most datasets and views that are kept after they were dropped or replaced [default: 10000]
    #[arg(long, env = "AIRSTRIP_TRASH_ENTRIES", value_name = "COUNT")]
    pub trash_entries: Option<usize>,

    /// The codec of uploads; integers that are stored as packed differences are not compressed again
    /// [default: lz4]
    #[arg(long, env = "AIRSTRIP_CODEC", value_name = "CODEC")]
    pub codec: Option<Codec>,

    /// Bloom filters of uploads, for queries that look for single values [default: auto]
    #[arg(long, env = "AIRSTRIP_BLOOM_FILTERS", value_name = "COLUMNS")]
    pub bloom_filters: Option<BloomFilters>,

    /// The most rows in a row group of an upload [default: 131072]
    #[arg(long, env = "AIRSTRIP_ROW_GROUP_ROWS", value_name = "ROWS")]
    pub row_group_rows: Option<usize>,

    /// The most encoded bytes in a row group of an upload [default: 64MiB]
    #[arg(long, env = "AIRSTRIP_ROW_GROUP_BYTES", value_name = "SIZE")]
    pub row_group_bytes: Option<ByteSize>,

    /// Memory for the encoded pages of an upload until their row group is full; a file without a name in the
    /// root takes the rest [default: 128MiB]
    #[arg(long, env = "AIRSTRIP_UPLOAD_MEMORY", value_name = "SIZE")]
    pub upload_memory: Option<ByteSize>,

    /// How long a reset that comes after the end of an upload's stream through a proxy still counts [default: 5ms]
    #[arg(long, env = "AIRSTRIP_PUBLISH_DELAY", value_name = "TIME")]
    pub publish_delay: Option<Period>,

    /// Take only uploads that say how many rows they have (x-airstrip-expected-rows), or that they are whole
    /// (x-airstrip-commit: explicit) [default: false]
    #[arg(
        long,
        env = "AIRSTRIP_REQUIRE_COMMIT",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub require_commit: Option<bool>,

    /// The share of a dataset's rows by which an upload may make it smaller, from 0 to 1 [default: 1, any]
    #[arg(long, env = "AIRSTRIP_MAX_SHRINK", value_name = "SHARE")]
    pub max_shrink: Option<f64>,

    /// Refuse uploads that replace a dataset and have no column in common with it [default: false]
    #[arg(
        long,
        env = "AIRSTRIP_STRICT_REPLACE",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub strict_replace: Option<bool>,

    /// The largest message that is taken from a client [default: 1GiB]
    #[arg(long, env = "AIRSTRIP_MAX_MESSAGE_BYTES", value_name = "SIZE")]
    pub max_message_bytes: Option<ByteSize>,

    /// Memory that all queries may use together before they spill [default: half of the memory that the
    /// process may use]
    #[arg(long, env = "AIRSTRIP_MEMORY_LIMIT", value_name = "SIZE")]
    pub memory_limit: Option<ByteSize>,

    /// Memory for what is neither a query's reserve nor a cache: with it, `memory-limit` and the caches' limits are the bound
    /// that the process keeps to [default: 512MiB]
    #[arg(long, env = "AIRSTRIP_MEMORY_HEADROOM", value_name = "SIZE")]
    pub memory_headroom: Option<ByteSize>,

    /// The largest text, list or other value that a function may make; a quarter of `memory-limit` at most [default: 256MiB]
    #[arg(long, env = "AIRSTRIP_MAX_VALUE_SIZE", value_name = "SIZE")]
    pub max_value_size: Option<ByteSize>,

    /// Disk that all queries may spill to together [default: 32GiB]
    #[arg(long, env = "AIRSTRIP_SPILL_LIMIT", value_name = "SIZE")]
    pub spill_limit: Option<ByteSize>,

    /// Threads of a query that runs alone; several share three times as many [default: the cores]
    #[arg(long, env = "AIRSTRIP_QUERY_THREADS", value_name = "COUNT")]
    pub query_threads: Option<usize>,

    /// Queries that run at once [default: 16]
    #[arg(long, env = "AIRSTRIP_MAX_QUERIES", value_name = "COUNT")]
    pub max_queries: Option<usize>,

    /// Queries that may wait for their turn [default: 256]
    #[arg(long, env = "AIRSTRIP_MAX_QUEUED", value_name = "COUNT")]
    pub max_queued: Option<usize>,

    /// How long a query waits for its turn at most [default: 60s]
    #[arg(long, env = "AIRSTRIP_QUEUE_TIMEOUT", value_name = "TIME")]
    pub queue_timeout: Option<Period>,

    /// How long a query may take, from its request to its last row [default: 1h]
    #[arg(long, env = "AIRSTRIP_QUERY_TIMEOUT", value_name = "TIME")]
    pub query_timeout: Option<Period>,

    /// How long a stream may stand still because of its client [default: 5m]
    #[arg(long, env = "AIRSTRIP_IDLE_TIMEOUT", value_name = "TIME")]
    pub idle_timeout: Option<Period>,

    /// How long a query keeps its place among those that run while its client takes nothing [default: 5s]
    #[arg(long, env = "AIRSTRIP_PAUSE_TIMEOUT", value_name = "TIME")]
    pub pause_timeout: Option<Period>,

    /// How long requests may go on after the server was asked to stop [default: 30s]
    #[arg(long, env = "AIRSTRIP_DRAIN_TIMEOUT", value_name = "TIME")]
    pub drain_timeout: Option<Period>,

    /// The longest SQL text [default: 1MiB]
    #[arg(long, env = "AIRSTRIP_MAX_SQL_BYTES", value_name = "SIZE")]
    pub max_sql_bytes: Option<ByteSize>,

    /// The deepest nesting of a SQL text [default: 256]
    #[arg(long, env = "AIRSTRIP_MAX_SQL_DEPTH", value_name = "LEVELS")]
    pub max_sql_depth: Option<usize>,

    /// The most tables that a statement may read, its CTEs written out [default: 500]
    #[arg(long, env = "AIRSTRIP_MAX_SQL_TABLES", value_name = "COUNT")]
    pub max_sql_tables: Option<usize>,

    /// The most expressions of a SQL text that are more than a name or a constant [default: 20000]
    #[arg(long, env = "AIRSTRIP_MAX_SQL_EXPRESSIONS", value_name = "COUNT")]
    pub max_sql_expressions: Option<usize>,

    /// Plans that are kept for statements that come again; 0: none [default: 256]
    #[arg(long, env = "AIRSTRIP_PLAN_CACHE", value_name = "COUNT")]
    pub plan_cache: Option<usize>,

    /// The most Parquet files in one dataset [default: 10000]
    #[arg(long, env = "AIRSTRIP_MAX_PARTS", value_name = "COUNT")]
    pub max_parts: Option<usize>,

    /// Small files of a Delta table, per partition, that are made one; 0: never [default: 64]
    #[arg(long, env = "AIRSTRIP_COMPACT_FILES", value_name = "COUNT")]
    pub compact_files: Option<usize>,

    /// Files of a Delta table below this size are small [default: 16MiB]
    #[arg(long, env = "AIRSTRIP_SMALL_FILE", value_name = "SIZE")]
    pub small_file: Option<ByteSize>,

    /// Memory for the footers of Parquet files, and for the names in folders [default: 128MiB]
    #[arg(long, env = "AIRSTRIP_FOOTER_CACHE", value_name = "SIZE")]
    pub footer_cache: Option<ByteSize>,

    /// Memory for decoded columns that queries read again and again; 0: none [default: an eighth of the
    /// memory that the process may use]
    #[arg(long, env = "AIRSTRIP_COLUMN_CACHE", value_name = "SIZE")]
    pub column_cache: Option<ByteSize>,

    /// Connections at once; further ones wait [default: 1024]
    #[arg(long, env = "AIRSTRIP_MAX_CONNECTIONS", value_name = "COUNT")]
    pub max_connections: Option<usize>,

    /// How long a connection may be there without a request [default: 30s]
    #[arg(long, env = "AIRSTRIP_FIRST_REQUEST_TIMEOUT", value_name = "TIME")]
    pub first_request_timeout: Option<Period>,

    /// Requests at once on one connection [default: 256]
    #[arg(long, env = "AIRSTRIP_MAX_STREAMS", value_name = "COUNT")]
    pub max_streams: Option<u32>,

    /// Sessions at once; the one that was idle for longest makes room for a new one [default: 10000]
    #[arg(long, env = "AIRSTRIP_MAX_SESSIONS", value_name = "COUNT")]
    pub max_sessions: Option<usize>,

    /// Memory for prepared statements; the one that was idle for longest makes room [default: 64MiB]
    #[arg(long, env = "AIRSTRIP_STATEMENT_MEMORY", value_name = "SIZE")]
    pub statement_memory: Option<ByteSize>,

    /// How long a session or prepared statement is kept that nobody uses [default: 1h]
    #[arg(long, env = "AIRSTRIP_SESSION_TIMEOUT", value_name = "TIME")]
    pub session_timeout: Option<Period>,

    /// How long the ticket of a query can be redeemed [default: 24h]
    #[arg(long, env = "AIRSTRIP_TICKET_LIFETIME", value_name = "TIME")]
    pub ticket_lifetime: Option<Period>,

    /// Memory for encoded row groups of datasets that are downloaded again and again; 0: none [default: an
    /// eighth of the memory that the process may use]
    #[arg(long, env = "AIRSTRIP_FRAME_CACHE", value_name = "SIZE")]
    pub frame_cache: Option<ByteSize>,

    /// Memory that all downloads together may decode ahead of their clients [default: 256MiB]
    #[arg(long, env = "AIRSTRIP_READ_AHEAD", value_name = "SIZE")]
    pub read_ahead: Option<ByteSize>,

    /// Send downloads without copying them; `false` leaves that to the gRPC library [default: true]
    #[arg(
        long,
        env = "AIRSTRIP_ZERO_COPY",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub zero_copy: Option<bool>,

    /// HTTP/2: what a client may send of one upload ahead of its reading [default: 4MiB]
    #[arg(long, env = "AIRSTRIP_STREAM_WINDOW", value_name = "SIZE")]
    pub stream_window: Option<ByteSize>,

    /// HTTP/2: what a client may send of all uploads of a connection ahead of their reading [default: 16MiB]
    #[arg(long, env = "AIRSTRIP_CONNECTION_WINDOW", value_name = "SIZE")]
    pub connection_window: Option<ByteSize>,

    /// HTTP/2: the largest frame that a client may send [default: 1MiB]
    #[arg(long, env = "AIRSTRIP_HTTP_FRAME", value_name = "SIZE")]
    pub http_frame: Option<ByteSize>,

    /// How often a silent client is asked whether it is still there [default: 30s]
    #[arg(long, env = "AIRSTRIP_KEEPALIVE", value_name = "TIME")]
    pub keepalive: Option<Period>,

    /// Take memory in pages of 2 MiB, where the system has them: some queries are a tenth faster, with a fifth more
    /// memory [default: false]
    #[arg(
        long,
        env = "AIRSTRIP_HUGE_PAGES",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new()
    )]
    pub huge_pages: Option<bool>,

    /// How the log on standard error looks [default: text]
    #[arg(long, env = "AIRSTRIP_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What is logged, as tracing-subscriber's EnvFilter reads it [default: info, of the Delta library warn]
    #[arg(long, env = "AIRSTRIP_LOG", value_name = "FILTER")]
    pub log: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A span of time as people write it: `90s`, `5m`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self)
    }
}

impl TryFrom<String> for Period {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// All that the server needs to know, with nothing left open.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory to serve.
    pub root: PathBuf,
    /// Whether it is created if it is missing.
    pub create: bool,
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Whether to serve without writing.
    pub read_only: bool,
    /// Whether to take memory in pages of 2 MiB.
    pub huge_pages: bool,
    /// The catalog's part.
    pub catalog: CatalogOptions,
    /// The engine's part; where to spill is the root's business.
    pub engine: EngineOptions,
    /// The server's part.
    pub server: ServerOptions,
}

impl Settings {
    /// Reads a settings file's text.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| Error::invalid(format!("in the settings file: {error}")))
    }

    /// These settings, and `weaker` ones where these are silent.
    #[must_use]
    pub fn or(self, weaker: Self) -> Self {
        Self {
            root: self.root.or(weaker.root),
            create: self.create.or(weaker.create),
            listen: self.listen.or(weaker.listen),
            read_only: self.read_only.or(weaker.read_only),
            register_from: self.register_from.or(weaker.register_from),
            advertise: self.advertise.or(weaker.advertise),
            trash_retention: self.trash_retention.or(weaker.trash_retention),
            trash_limit: self.trash_limit.or(weaker.trash_limit),
            trash_entries: self.trash_entries.or(weaker.trash_entries),
            codec: self.codec.or(weaker.codec),
            bloom_filters: self.bloom_filters.or(weaker.bloom_filters),
            row_group_rows: self.row_group_rows.or(weaker.row_group_rows),
            row_group_bytes: self.row_group_bytes.or(weaker.row_group_bytes),
            upload_memory: self.upload_memory.or(weaker.upload_memory),
            publish_delay: self.publish_delay.or(weaker.publish_delay),
            require_commit: self.require_commit.or(weaker.require_commit),
            max_shrink: self.max_shrink.or(weaker.max_shrink),
            strict_replace: self.strict_replace.or(weaker.strict_replace),
            max_message_bytes: self.max_message_bytes.or(weaker.max_message_bytes),
            memory_limit: self.memory_limit.or(weaker.memory_limit),
            memory_headroom: self.memory_headroom.or(weaker.memory_headroom),
            max_value_size: self.max_value_size.or(weaker.max_value_size),
            spill_limit: self.spill_limit.or(weaker.spill_limit),
            query_threads: self.query_threads.or(weaker.query_threads),
            max_queries: self.max_queries.or(weaker.max_queries),
            max_queued: self.max_queued.or(weaker.max_queued),
            queue_timeout: self.queue_timeout.or(weaker.queue_timeout),
            query_timeout: self.query_timeout.or(weaker.query_timeout),
            idle_timeout: self.idle_timeout.or(weaker.idle_timeout),
            pause_timeout: self.pause_timeout.or(weaker.pause_timeout),
            drain_timeout: self.drain_timeout.or(weaker.drain_timeout),
            max_sql_bytes: self.max_sql_bytes.or(weaker.max_sql_bytes),
            max_sql_depth: self.max_sql_depth.or(weaker.max_sql_depth),
            max_sql_tables: self.max_sql_tables.or(weaker.max_sql_tables),
            max_sql_expressions: self.max_sql_expressions.or(weaker.max_sql_expressions),
            plan_cache: self.plan_cache.or(weaker.plan_cache),
            max_parts: self.max_parts.or(weaker.max_parts),
            compact_files: self.compact_files.or(weaker.compact_files),
            small_file: self.small_file.or(weaker.small_file),
            footer_cache: self.footer_cache.or(weaker.footer_cache),
            column_cache: self.column_cache.or(weaker.column_cache),
            max_connections: self.max_connections.or(weaker.max_connections),
            first_request_timeout: self.first_request_timeout.or(weaker.first_request_timeout),
            max_streams: self.max_streams.or(weaker.max_streams),
            max_sessions: self.max_sessions.or(weaker.max_sessions),
            statement_memory: self.statement_memory.or(weaker.statement_memory),
            session_timeout: self.session_timeout.or(weaker.session_timeout),
            ticket_lifetime: self.ticket_lifetime.or(weaker.ticket_lifetime),
            frame_cache: self.frame_cache.or(weaker.frame_cache),
            read_ahead: self.read_ahead.or(weaker.read_ahead),
            zero_copy: self.zero_copy.or(weaker.zero_copy),
            stream_window: self.stream_window.or(weaker.stream_window),
            connection_window: self.connection_window.or(weaker.connection_window),
            http_frame: self.http_frame.or(weaker.http_frame),
            keepalive: self.keepalive.or(weaker.keepalive),
            huge_pages: self.huge_pages.or(weaker.huge_pages),
            log_format: self.log_format.or(weaker.log_format),
            log: self.log.or(weaker.log),
        }
    }

    /// Fills in the defaults and checks the values. `memory` is what the process may use, in bytes, as are `cores`.
    pub fn resolve(self, memory: u64, cores: usize) -> Result<Config> {
        let catalog = self.catalog_options(memory)?;
        let memory_bytes = bytes("memory-limit", self.memory_limit, memory / 2)?;
        let frame_cache = self.frame_cache.map_or(memory / 8, |size| size.as_u64());
        let caches = frame_cache + catalog.footer_cache_bytes + catalog.column_cache_bytes;
        let headroom = headroom(self.memory_headroom, memory)?;
        let engine = EngineOptions {
            memory_bytes,
            budget: MemoryBudget::new(caches.saturating_add(memory_bytes as u64), headroom, memory),
            value_bytes: bytes("max-value-size", self.max_value_size, 256 << 20)?,
            spill_dir: None,
            spill_bytes: self.spill_limit.unwrap_or(ByteSize::gib(32)).as_u64(),
            threads: count("query-threads", self.query_threads.unwrap_or(cores), QUERY_THREADS)?,
            admission: AdmissionOptions {
                running: positive("max-queries", self.max_queries.unwrap_or(16))?,
                waiting: self.max_queued.unwrap_or(256),
                patience: period(self.queue_timeout, 60),
            },
            sql: SqlLimits {
                bytes: bytes("max-sql-bytes", self.max_sql_bytes, 1 << 20)?,
                depth: count("max-sql-depth", self.max_sql_depth.unwrap_or(256), SQL_DEPTH)?,
                tables: positive("max-sql-tables", self.max_sql_tables.unwrap_or(500))?,
                expressions: positive("max-sql-expressions", self.max_sql_expressions.unwrap_or(20_000))?,
            },
            plans: self.plan_cache.unwrap_or(256),
        };
        let server = self.server_options(frame_cache)?;
        Ok(Config {
            create: self.create.unwrap_or(false),
            root: self.root.unwrap_or_else(|| PathBuf::from(DEFAULT_ROOT)),
            listen: self.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8815))),
            read_only: self.read_only.unwrap_or(false),
            huge_pages: self.huge_pages.unwrap_or(false),
            catalog,
            engine,
            server,
        })
    }

    fn server_options(&self, frame_cache: u64) -> Result<ServerOptions> {
        Ok(ServerOptions {
            advertise: locations(self.advertise.as_deref().unwrap_or_default())?,
            query_timeout: lasting("query-timeout", self.query_timeout, 3600)?,
            idle_timeout: lasting("idle-timeout", self.idle_timeout, 300)?,
            pause_timeout: period(self.pause_timeout, 5),
            drain_timeout: period(self.drain_timeout, 30),
            max_message_bytes: bytes("max-message-bytes", self.max_message_bytes, 1 << 30)?,
            max_connections: positive("max-connections", self.max_connections.unwrap_or(1024))?,
            ticket_lifetime: lasting("ticket-lifetime", self.ticket_lifetime, 24 * 3600)?,
            http: HttpOptions {
                stream_window: between("stream-window", self.stream_window, 4 << 20, HTTP_WINDOWS)?,
                connection_window: between(
                    "connection-window",
                    self.connection_window,
                    16 << 20,
                    HTTP_WINDOWS,
                )?,
                frame: between("http-frame", self.http_frame, 1 << 20, HTTP_FRAMES)?,
                keepalive: lasting("keepalive", self.keepalive, 30)?,
                max_streams: self.max_streams.unwrap_or(256).max(1),
                first_request: lasting("first-request-timeout", self.first_request_timeout, 30)?,
            },
            zero_copy: self.zero_copy.unwrap_or(true),
            uploads: UploadOptions {
                publish_delay: self.publish_delay.map_or(PUBLISH_DELAY, |delay| delay.0),
                require_commit: self.require_commit.unwrap_or(false),
            },
            downloads: DownloadOptions {
                cache_bytes: frame_cache,
                ahead_bytes: bytes("read-ahead", self.read_ahead, 256 << 20)? as u64,
            },
            sessions: SessionOptions {
                most: positive("max-sessions", self.max_sessions.unwrap_or(10_000))? as u64,
                idle: lasting("session-timeout", self.session_timeout, 3600)?,
            },
            statements: StatementsOptions {
                bytes: bytes("statement-memory", self.statement_memory, 64 << 20)? as u64,
                idle: lasting("session-timeout", self.session_timeout, 3600)?,
            },
        })
    }

    fn catalog_options(&self, memory: u64) -> Result<CatalogOptions> {
        Ok(CatalogOptions {
            register_from: self.register_from.clone().unwrap_or_default(),
            footer_cache_bytes: self.footer_cache.unwrap_or(ByteSize::mib(128)).as_u64(),
            column_cache_bytes: self.column_cache.map_or(memory / 8, |size| size.as_u64()),
            max_parts: positive("max-parts", self.max_parts.unwrap_or(10_000))?,
            staging: StagingOptions {
                codec: self.codec.unwrap_or(Codec::Lz4),
                bloom_filters: self.bloom_filters.unwrap_or(BloomFilters::Auto),
                row_group_rows: positive("row-group-rows", self.row_group_rows.unwrap_or(131_072))?,
                row_group_bytes: bytes("row-group-bytes", self.row_group_bytes, 64 << 20)?,
                memory_bytes: bytes("upload-memory", self.upload_memory, 128 << 20)?,
            },
            maintenance: MaintenanceOptions {
                compact_files: self.compact_files.unwrap_or(64),
                small_file_bytes: self.small_file.unwrap_or(ByteSize::mib(16)).as_u64(),
            },
            replace: ReplaceOptions {
                max_shrink: self.max_shrink.map(|share| fraction("max-shrink", share)).transpose()?,
                same_columns: self.strict_replace.unwrap_or(false),
            },
            trash: TrashOptions {
                retention: self.trash_retention.map_or(TrashOptions::default().retention, |period| period.0),
                limit: self.trash_limit.map(|size| size.as_u64()),
                entries: self.trash_entries.unwrap_or(TrashOptions::default().entries),
            },
        })
    }
}

/// The root of a server that is told of none.
pub const DEFAULT_ROOT: &str = "datasets";

/// What HTTP/2 allows (RFC 9113, 6.5.2), and windows of at least what they are by default.
const HTTP_WINDOWS: RangeInclusive<u32> = 65_535..=(1 << 31) - 1;
const HTTP_FRAMES: RangeInclusive<u32> = 16_384..=(1 << 24) - 1;

fn between(name: &str, value: Option<ByteSize>, default: u32, range: RangeInclusive<u32>) -> Result<u32> {
    let Some(value) = value else { return Ok(default) };
    let bytes = u32::try_from(value.as_u64()).ok().filter(|bytes| range.contains(bytes));
    bytes.ok_or_else(|| {
        Error::invalid(format!("{name} is from {} to {} bytes, not {value}", range.start(), range.end()))
    })
}

/// The planner's recursion is bounded by `max-sql-depth`, and its stacks are sized for this.
const SQL_DEPTH: usize = 1000;
/// Each query thread reserves a stack's addresses.
const QUERY_THREADS: usize = 1024;

/// Far more than a proxy takes that sends a stream's end and its reset in one write.
const PUBLISH_DELAY: Duration = Duration::from_millis(5);

fn fraction(name: &str, value: f64) -> Result<f64> {
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(Error::invalid(format!("{name} is a number from 0 to 1, not {value}")))
}

fn count(name: &str, value: usize, most: usize) -> Result<usize> {
    if (1..=most).contains(&value) {
        return Ok(value);
    }
    Err(Error::invalid(format!("{name} is a number from 1 to {most}, not {value}")))
}

fn positive(name: &str, value: usize) -> Result<usize> {
    if value == 0 { Err(Error::invalid(format!("{name} must be at least 1"))) } else { Ok(value) }
}

fn bytes(name: &str, value: Option<ByteSize>, default: u64) -> Result<usize> {
    let bytes = value.map_or(default, |value| value.as_u64());
    let bytes = usize::try_from(bytes).map_err(|_| Error::invalid(format!("{name} is too large")))?;
    positive(name, bytes)
}

fn period(value: Option<Period>, default_seconds: u64) -> Duration {
    value.map_or(Duration::from_secs(default_seconds), |period| period.0)
}

/// A time that something has: with none of it nothing would work.
fn lasting(name: &str, value: Option<Period>, default_seconds: u64) -> Result<Duration> {
    let period = period(value, default_seconds);
    if period.is_zero() { Err(Error::invalid(format!("{name} must be longer than 0s"))) } else { Ok(period) }
}

/// What is left for what nobody counts. With more than half of all memory every statement would be one too many.
fn headroom(value: Option<ByteSize>, memory: u64) -> Result<u64> {
    match value {
        Some(value) if value.as_u64() > memory / 2 => {
            let (half, all) = (ByteSize::b(memory / 2), ByteSize::b(memory));
            Err(Error::invalid(format!("memory-headroom is at most {half}, half of the {all} that there is")))
        }
        Some(value) => Ok(value.as_u64()),
        None => Ok(ByteSize::mib(512).as_u64()),
    }
}

/// Locations as Flight has them: <https://arrow.apache.org/docs/format/Flight.html#transports>.
fn locations(texts: &[String]) -> Result<Vec<String>> {
    let is_location = |text: &&String| {
        let Ok(url) = Url::parse(text) else { return false };
        match url.scheme() {
            "grpc" | "grpc+tcp" | "grpc+tls" => url.has_host(),
            "grpc+unix" => !url.path().is_empty(),
            "arrow-flight-reuse-connection" => true,
            _ => false,
        }
    };
    match texts.iter().find(|text| !is_location(text)) {
        Some(text) => Err(Error::invalid(format!(
            "advertise takes locations such as grpc://host:8815 or grpc+tls://host:8815, not {text:?}"
        ))),
        None => Ok(texts.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused() {
        for wrong in [
            "session-timeout = \"0s\"",
            "query-timeout = \"0s\"",
            "memory-headroom = \"900GiB\"",
            "advertise = [\"foo\"]",
            "advertise = [\"host:8815\"]",
            "advertise = [\"http://host:8815\"]",
        ] {
            let name = wrong.split_once(' ').unwrap().0;
            let error = Settings::parse(wrong).unwrap().resolve(1 << 30, 2).unwrap_err();
            assert!(error.message().starts_with(name), "{wrong}: {error}");
        }
        let right = "advertise = [\"grpc+tls://host:8815\", \"arrow-flight-reuse-connection://?\"]";
        assert_eq!(Settings::parse(right).unwrap().resolve(1 << 30, 2).unwrap().server.advertise.len(), 2);
    }

    #[test]
    fn the_stronger_source_wins_and_defaults_fill_the_rest() {
        let file =
            Settings::parse("listen = \"127.0.0.1:1\"\nidle-timeout = \"90s\"\nmemory-limit = \"1GiB\"");
        let flags = Settings { listen: Some("127.0.0.1:2".parse().unwrap()), ..Settings::default() };
        let config = flags.or(file.unwrap()).resolve(8 << 30, 2).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.server.idle_timeout, Duration::from_secs(90));
        assert_eq!(config.engine.memory_bytes, 1 << 30);
        assert_eq!(config.root, PathBuf::from("datasets"));
        let config = Settings::default().resolve(8 << 30, 2).unwrap();
        assert_eq!(config.engine.memory_bytes, 4 << 30);
    }

    #[test]
    fn a_wrong_file_is_an_error_with_its_place() {
        for text in ["listn = 1", "listen = \"nowhere\"", "idle-timeout = \"soon\"", "max-queries = -1"] {
            let error = Settings::parse(text).unwrap_err();
            assert!(error.message().contains("line 1"), "{error}");
        }
        for wrong in ["max-queries = 0", "max-shrink = 1.5"] {
            assert!(Settings::parse(wrong).unwrap().resolve(1 << 30, 2).is_err(), "{wrong}");
        }
    }
}
