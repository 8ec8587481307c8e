//! What an upload asks for besides its rows, and what makes it whole.
//!
//! Most clients say so in headers. Where those are hard to send, an ingest has options of the same names, and whatever
//! an upload's wholeness depends on may come as metadata of a message before the first batch.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use tonic::metadata::MetadataMap;

use super::lenient;
use crate::catalog::{Guards, PutMode, PutOptions, parse_transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::server::headers::{IF_VERSION, header, unknown};
use crate::server::ipc::Received;

const COMMIT: &str = "x-airstrip-commit";
const EXPECTED_ROWS: &str = "x-airstrip-expected-rows";
const ALLOW: &str = "x-airstrip-allow";

/// What the last message of an upload says that is committed explicitly.
const COMMITTED: &[u8] = b"commit";

/// Longer metadata is never looked into.
const MAX_TERMS_BYTES: usize = 4096;

/// The server's part in what makes an upload whole.
#[derive(Debug, Clone, Copy)]
pub struct UploadOptions {
    /// How long after the end of a stream that came through a proxy a reset of it still counts.
    pub publish_delay: Duration,
    /// Whether every upload has to say how many rows it has, or that it is whole.
    pub require_commit: bool,
}

/// What an upload asks for.
#[derive(Debug, Clone)]
pub(in crate::server) struct Terms {
    pub(in crate::server) put: PutOptions,
    pub(in crate::server) whole: Wholeness,
    /// How long after the stream's end a reset may still come.
    settling: Duration,
}

impl Terms {
    /// The terms in a request's headers. `behind_proxy`: the request came through one.
    pub(in crate::server) fn of_headers(
        metadata: &MetadataMap,
        behind_proxy: bool,
        options: UploadOptions,
    ) -> Result<Self> {
        let mut whole = Wholeness { required: options.require_commit, ..Wholeness::default() };
        if let Some(text) = header(metadata, COMMIT)? {
            whole.set_commit(COMMIT, text)?;
        }
        if let Some(text) = header(metadata, EXPECTED_ROWS)? {
            whole.set_expected(EXPECTED_ROWS, text)?;
        }
        let put = PutOptions { expected_rows: whole.expected, ..put_options(metadata)? };
        let settling = if behind_proxy { options.publish_delay } else { Duration::ZERO };
        Ok(Self { put, whole, settling })
    }

    /// These terms with the options of an ingest, which are called like the headers, without what all begin with.
    pub(in crate::server) fn with_options(mut self, options: &HashMap<String, String>) -> Result<Self> {
        const NAMES: [&str; 3] = ["allow", "commit", "expected-rows"];
        for (name, text) in options {
            match name.as_str() {
                "allow" => self.put.guards = guards(name, text)?,
                "commit" => self.whole.set_commit(name, text)?,
                "expected-rows" => self.whole.set_expected(name, text)?,
                name => return Err(unknown("option of an ingest", name, &NAMES)),
            }
        }
        self.put.expected_rows = self.whole.expected;
        Ok(self)
    }

    /// How long after the stream's end a reset may still come that makes it none. No time at all where something else
    /// than the end says that the upload is whole.
    pub(in crate::server) fn settling(&self) -> Duration {
        if self.whole.is_told() { Duration::ZERO } else { self.settling }
    }
}

/// What makes an upload whole besides its stream's end, and how far it has come.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Wholeness {
    /// Whether a last message has to say that the upload is whole.
    explicit: bool,
    /// The rows that there have to be.
    expected: Option<u64>,
    /// Whether the server demands one of both.
    required: bool,
    rows: u64,
    progress: Progress,
}

/// How far an upload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Progress {
    /// No batch has come.
    #[default]
    Nothing,
    /// A batch has come.
    Rows,
    /// Its last message has come, and said so.
    Committed,
}

/// The last message's metadata, in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Commit {
    commit: bool,
    rows: Option<u64>,
}

impl Wholeness {
    /// Takes a message into account. Gives whether its metadata was meant for the server, and is not to be sent back.
    pub(in crate::server) fn take(&mut self, received: &Received) -> Result<bool> {
        if self.progress == Progress::Committed {
            return Err(Error::invalid(
                "a message came after the one that says `commit`, which has to be the last; nothing was stored",
            ));
        }
        let metadata = &received.app_metadata;
        let Some(batch) = &received.batch else {
            let may_set = self.progress == Progress::Nothing;
            return Ok(may_set && self.set(metadata)? || self.commits(metadata)?);
        };
        if self.progress == Progress::Nothing {
            self.check_told()?;
            self.progress = Progress::Rows;
        }
        self.rows += batch.num_rows() as u64;
        self.commits(metadata)
    }

    /// Fails at the stream's end unless the upload is whole.
    pub(in crate::server) fn check(&self) -> Result<()> {
        self.check_told()?;
        if self.explicit && self.progress != Progress::Committed {
            return Err(Error::new(
                ErrorKind::Aborted,
                format!(
                    "the stream ended after {} rows without a last message whose app_metadata is `commit`, which \
                     {COMMIT}: explicit asks for; nothing was stored",
                    self.rows
                ),
            ));
        }
        match self.expected {
            Some(expected) if expected != self.rows => Err(Error::invalid(format!(
                "{} rows arrived, {EXPECTED_ROWS} says {expected}; nothing was stored",
                self.rows
            ))),
            _ => Ok(()),
        }
    }

    /// Fails where a statement with values is asked for what only uploads and ingests have.
    pub(in crate::server) fn check_unasked(&self) -> Result<()> {
        if self.is_told() {
            return Err(Error::invalid(format!(
                "{COMMIT} and {EXPECTED_ROWS} are for uploads to a path and for ingests, not for statements"
            )));
        }
        Ok(())
    }

    fn is_told(&self) -> bool {
        self.explicit || self.expected.is_some()
    }

    fn check_told(&self) -> Result<()> {
        if !self.required || self.is_told() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "this server takes no upload that does not say what makes it whole (the setting require-commit): send \
             {EXPECTED_ROWS}, or {COMMIT}: explicit and a last message whose app_metadata is `commit`; nothing was stored"
        )))
    }

    fn set_commit(&mut self, name: &str, text: &str) -> Result<()> {
        self.explicit = match text {
            "explicit" => true,
            "end" => false,
            other => return Err(Error::invalid(format!("{name} is explicit or end, not {other:?}"))),
        };
        Ok(())
    }

    fn set_expected(&mut self, name: &str, text: &str) -> Result<()> {
        let number = text.parse().map_err(|_| Error::invalid(format!("{name} is a number, not {text:?}")))?;
        self.expected = Some(number);
        Ok(())
    }

    /// Sets what a message without rows asks for in the place of headers.
    fn set(&mut self, metadata: &[u8]) -> Result<bool> {
        let fields = match object(metadata) {
            Some(fields) if fields.keys().any(|name| name.starts_with("x-airstrip-")) => fields,
            _ => return Ok(false),
        };
        for (name, value) in fields {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match name.as_str() {
                COMMIT => self.set_commit(COMMIT, &text)?,
                EXPECTED_ROWS => self.set_expected(EXPECTED_ROWS, &text)?,
                name => {
                    let known = [COMMIT, EXPECTED_ROWS];
                    return Err(unknown("field in the metadata before the first batch", name, &known));
                }
            }
        }
        Ok(true)
    }

    /// Whether a message's metadata says that the upload is whole with it.
    fn commits(&mut self, metadata: &[u8]) -> Result<bool> {
        if !self.explicit {
            return Ok(false);
        }
        if metadata.trim_ascii() == COMMITTED {
            self.progress = Progress::Committed;
            return Ok(true);
        }
        let Some(fields) = object(metadata).filter(|fields| fields.contains_key("commit")) else {
            return Ok(false);
        };
        let said: Commit = lenient::from_value(Value::Object(fields), "the metadata of the commit")?;
        if !said.commit {
            return Err(Error::invalid("the last message says `commit`: false; nothing was stored"));
        }
        if let Some(rows) = said.rows.filter(|rows| *rows != self.rows) {
            let arrived = self.rows;
            return Err(Error::invalid(format!(
                "{arrived} rows arrived, the commit says {rows}; nothing was stored"
            )));
        }
        self.progress = Progress::Committed;
        Ok(true)
    }
}

/// The fields of short metadata that is an object in JSON.
fn object(metadata: &[u8]) -> Option<Map<String, Value>> {
    let is_short = metadata.len() <= MAX_TERMS_BYTES && metadata.first() == Some(&b'{');
    is_short.then(|| serde_json::from_slice(metadata).ok()).flatten()
}

/// The guards that stay where a client allows what others are there for.
fn guards(name: &str, text: &str) -> Result<Guards> {
    let mut guards = Guards::all();
    for word in text.split(',').map(str::trim) {
        match word {
            "shrink" => guards.shrink = false,
            "other-schema" => guards.schema = false,
            other => {
                return Err(Error::invalid(format!("{name} is shrink, other-schema or both, not {other:?}")));
            }
        }
    }
    Ok(guards)
}

fn put_options(metadata: &MetadataMap) -> Result<PutOptions> {
    let mode = match header(metadata, "x-airstrip-mode")? {
        None | Some("replace") => PutMode::Replace,
        Some("create") => PutMode::Create,
        Some("append") => PutMode::Append,
        Some(other) => {
            return Err(Error::invalid(format!(
                "x-airstrip-mode is replace, create or append, not {other:?}"
            )));
        }
    };
    let if_version = header(metadata, IF_VERSION)?.map(str::to_owned);
    let merge_schema = match header(metadata, "x-airstrip-schema")? {
        None | Some("strict") => false,
        Some("merge") => true,
        Some(other) => {
            return Err(Error::invalid(format!("x-airstrip-schema is strict or merge, not {other:?}")));
        }
    };
    let keep_other_files = match header(metadata, "x-airstrip-keep-other-files")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            return Err(Error::invalid(format!(
                "x-airstrip-keep-other-files is true or false, not {other:?}"
            )));
        }
    };
    let transaction = header(metadata, "x-airstrip-txn")?.map(parse_transaction).transpose()?;
    let columns = header(metadata, "x-airstrip-partition-by")?;
    let partition_by = columns.map(|text| text.split(',').map(|name| name.trim().to_owned()).collect());
    let allowed = header(metadata, ALLOW)?;
    Ok(PutOptions {
        mode,
        if_version,
        merge_schema,
        keep_other_files,
        transaction,
        partition_by: partition_by.unwrap_or_default(),
        guards: allowed.map_or(Ok(Guards::all()), |text| guards(ALLOW, text))?,
        ..PutOptions::default()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch};
    use bytes::Bytes;

    use super::*;

    fn rows(rows: i64, metadata: &'static str) -> Received {
        let column = Arc::new(Int64Array::from_iter_values(0..rows));
        let batch = RecordBatch::try_from_iter([("n", column as _)]).unwrap();
        Received { batch: Some(batch), app_metadata: Bytes::from_static(metadata.as_bytes()) }
    }

    fn says(metadata: &'static str) -> Received {
        Received { batch: None, app_metadata: Bytes::from_static(metadata.as_bytes()) }
    }

    fn terms(headers: &[(&'static str, &str)], options: UploadOptions) -> Result<Terms> {
        let mut metadata = MetadataMap::new();
        for (name, value) in headers {
            metadata.insert(*name, value.parse().unwrap());
        }
        Terms::of_headers(&metadata, true, options)
    }

    const OPTIONS: UploadOptions =
        UploadOptions { publish_delay: Duration::from_millis(20), require_commit: false };

    fn explicit() -> Wholeness {
        terms(&[(COMMIT, "explicit")], OPTIONS).unwrap().whole
    }

    #[test]
    fn an_explicit_commit_is_the_last_message_and_says_so() {
        for last in [says("commit"), says(" commit\n"), says(r#"{"commit": true}"#), rows(0, "commit")] {
            let mut whole = explicit();
            assert!(!whole.take(&rows(3, "")).unwrap());
            assert!(!whole.take(&rows(4, "of the client's own")).unwrap());
            assert_eq!(whole.check().unwrap_err().kind(), ErrorKind::Aborted);
            assert!(whole.take(&last).unwrap());
            whole.check().unwrap();
            assert!(whole.take(&rows(1, "")).unwrap_err().message().contains("has to be the last"));
        }
    }

    #[test]
    fn a_commit_may_say_how_many_rows_there_are() {
        for right in [r#"{"commit": true, "rows": 7}"#, r#"{"commit": "true", "rows": "7"}"#] {
            let mut whole = explicit();
            whole.take(&rows(7, "")).unwrap();
            assert!(whole.take(&says(right)).unwrap());
            whole.check().unwrap();
        }
        for (wrong, why) in [
            (r#"{"commit": true, "rows": 8}"#, "7 rows arrived, the commit says 8"),
            (r#"{"commit": true, "row": 7}"#, "did you mean rows?"),
            (r#"{"commit": false}"#, "false"),
        ] {
            let mut whole = explicit();
            whole.take(&rows(7, "")).unwrap();
            assert!(whole.take(&says(wrong)).unwrap_err().message().contains(why), "{wrong}");
        }
    }

    #[test]
    fn without_being_asked_for_a_commit_is_the_clients_own_metadata() {
        let mut whole = Wholeness::default();
        assert!(!whole.take(&rows(1, "commit")).unwrap());
        assert!(!whole.take(&rows(1, "")).unwrap());
        whole.check().unwrap();
    }

    #[test]
    fn metadata_before_the_first_batch_stands_for_headers() {
        let mut whole = Wholeness::default();
        assert!(!whole.take(&says(r#"{"of": "mine"}"#)).unwrap());
        assert!(
            whole.take(&says(r#"{"x-airstrip-commit": "explicit", "x-airstrip-expected-rows": 2}"#)).unwrap()
        );
        whole.take(&rows(2, "")).unwrap();
        assert!(whole.check().is_err());
        assert!(whole.take(&says("commit")).unwrap());
        whole.check().unwrap();
        let error = Wholeness::default().take(&says(r#"{"x-airstrip-mode": "append"}"#)).unwrap_err();
        assert!(error.message().contains("x-airstrip-mode"), "{error}");
        let mut late = Wholeness::default();
        late.take(&rows(1, "")).unwrap();
        assert!(!late.take(&says(r#"{"x-airstrip-commit": "explicit"}"#)).unwrap());
    }

    #[test]
    fn a_server_can_require_it() {
        let strict = UploadOptions { require_commit: true, ..OPTIONS };
        let mut whole = terms(&[], strict).unwrap().whole;
        assert!(whole.check().unwrap_err().message().contains(EXPECTED_ROWS));
        assert!(whole.take(&rows(1, "")).unwrap_err().message().contains(COMMIT));
        let mut whole = terms(&[(EXPECTED_ROWS, "1")], strict).unwrap().whole;
        whole.take(&rows(1, "")).unwrap();
        whole.check().unwrap();
    }

    #[test]
    fn an_ingest_has_options_of_the_same_names() {
        let with = |name: &str, value: &str| {
            let options = HashMap::from([(name.to_owned(), value.to_owned())]);
            terms(&[], OPTIONS).unwrap().with_options(&options)
        };
        assert!(with("commit", "explicit").unwrap().whole.explicit);
        assert_eq!(with("expected-rows", "5").unwrap().put.expected_rows, Some(5));
        assert!(!with("allow", "shrink").unwrap().put.guards.shrink);
        let error = with("expectedrows", "5").unwrap_err();
        assert!(error.message().contains("did you mean expected-rows?"), "{error}");
    }

    #[test]
    fn a_reset_is_waited_for_only_where_nothing_else_tells() {
        assert_eq!(terms(&[], OPTIONS).unwrap().settling(), OPTIONS.publish_delay);
        for told in [(COMMIT, "explicit"), (EXPECTED_ROWS, "1")] {
            assert_eq!(terms(&[told], OPTIONS).unwrap().settling(), Duration::ZERO);
        }
        let direct = Terms::of_headers(&MetadataMap::new(), false, OPTIONS).unwrap();
        assert_eq!(direct.settling(), Duration::ZERO);
    }
}
