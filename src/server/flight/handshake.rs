//! Handshake: lets everyone in, as clients expect to be let in.

use arrow_flight::{HandshakeRequest, HandshakeResponse};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use futures::StreamExt;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::service::Handler;
use crate::error::{Error, Result};
use crate::server::status::status;
use crate::server::stream::Responses;

/// What the tokens that this server gives out begin with: `anonymous.USER.ID`, the user in Base64.
pub(in crate::server) const TOKEN: &str = "anonymous.";
/// The longest token that is sent back: with other headers it has to stay below the 8 KiB that some clients take.
const MAX_TOKEN: usize = 4096;

impl Handler {
    /// A client that brings Basic credentials expects a bearer token, and one that brings a token
    /// expects it back.
    pub(in crate::server) async fn shake_hands(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Responses<HandshakeResponse>>, Status> {
        let token = bearer(request.metadata()).map_err(|error| status(&error))?;
        let mut messages = request.into_inner();
        // Zero messages, an empty one, or one with credentials: all are fine.
        let first = tokio::time::timeout(self.options.idle_timeout, messages.next()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no handshake came"))?.transpose()?;
        let answer = first.map(|first| {
            Ok(HandshakeResponse { protocol_version: first.protocol_version, ..Default::default() })
        });
        let mut response = Response::new(futures::stream::iter(answer).boxed());
        if let Some(token) = token {
            response.metadata_mut().insert("authorization", token);
        }
        Ok(response)
    }
}

/// The token for a client that brought credentials: its own if it is one, else one of its own from us,
/// so that two clients of one user are two sessions.
fn bearer(metadata: &MetadataMap) -> Result<Option<AsciiMetadataValue>> {
    let Some(given) = metadata.get("authorization") else { return Ok(None) };
    let Ok(text) = given.to_str() else { return Ok(None) };
    let token = match basic_user(text) {
        None => Some(given.clone()),
        Some(user) => {
            let (user, id) = (URL_SAFE_NO_PAD.encode(user), Uuid::new_v4());
            AsciiMetadataValue::try_from(format!("Bearer {TOKEN}{user}.{id}")).ok()
        }
    };
    if token.as_ref().is_some_and(|token| token.len() > MAX_TOKEN) {
        return Err(Error::invalid(format!(
            "the token, or the user's name, is longer than the {MAX_TOKEN} bytes that every client takes back"
        )));
    }
    Ok(token)
}

/// The name that a request's credentials give its user.
pub(in crate::server) fn user(metadata: &MetadataMap) -> Option<String> {
    let given = metadata.get("authorization")?.to_str().ok()?;
    let name = match given.strip_prefix("Bearer ").and_then(|token| token.strip_prefix(TOKEN)) {
        Some(token) => String::from_utf8(URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?).ok()?,
        None => basic_user(given)?,
    };
    (!name.is_empty()).then_some(name)
}

/// The user of Basic credentials, which clients write with and without padding.
fn basic_user(authorization: &str) -> Option<String> {
    let basic = authorization.strip_prefix("Basic ")?;
    let decoded = String::from_utf8(STANDARD_NO_PAD.decode(basic.trim_end_matches('=')).ok()?).ok()?;
    Some(decoded.split(':').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(authorization: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", authorization.parse().unwrap());
        metadata
    }

    #[test]
    fn credentials_become_a_token_that_still_says_who_it_is() {
        // "me:secret", with and without padding.
        for basic in ["Basic bWU6c2VjcmV0", "Basic bWU6c2VjcmV0Cg==", "Basic bWU6c2VjcmV0Cg"] {
            let token = bearer(&with(basic)).unwrap().unwrap();
            assert_eq!(user(&with(token.to_str().unwrap())).unwrap(), "me");
            assert_eq!(user(&with(basic)).unwrap(), "me");
            assert_ne!(bearer(&with(basic)).unwrap().unwrap(), token);
        }
    }

    #[test]
    fn a_token_comes_back_as_it_was() {
        assert_eq!(bearer(&with("Bearer x")).unwrap().unwrap(), "Bearer x");
        assert_eq!(user(&with("Bearer x")), None);
        assert!(bearer(&MetadataMap::new()).unwrap().is_none());
        assert!(bearer(&with(&format!("Bearer {}", "x".repeat(5000)))).is_err());
    }
}
