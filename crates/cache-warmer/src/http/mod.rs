//! An HTTP service that answers with JSON as a source.

mod template;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use cache_core::{ByteSize, Error, ErrorKind, Item, Result, Span};
use reqwest::{
    Client, Response, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::Semaphore;

use self::template::Template;
use crate::{
    source::{Answer, Source, load_each},
    source_error::{SourceError, SourceErrorKind},
};

/// How an [`HttpSource`] asks. `Debug` shows no query and no header's value: secrets belong there.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// The address of a value, with `{key}` in its path or query, such as
    /// `https://quotes.example.com/v1/{key}?token=SECRET`. The key is percent-encoded.
    pub url: String,
    /// How long an answer may take, from the connection to the end of its body. `"10s"` unless set.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// How many questions may be open at the same time. 8 unless set.
    #[serde(default = "concurrency")]
    pub concurrency: usize,
    /// The largest answer. `"1MiB"` unless set.
    #[serde(default = "body_len_max")]
    pub body_len_max: ByteSize,
    /// Where in the answer the value is, as a JSON pointer such as `/data/quote`. The whole answer
    /// unless set.
    #[serde(default)]
    pub pointer: Option<String>,
    /// Headers to send, such as an `Authorization`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

const fn timeout() -> Span {
    Span::secs(10)
}

const fn concurrency() -> usize {
    8
}

const fn body_len_max() -> ByteSize {
    ByteSize::mib(1)
}

impl HttpConfig {
    /// Asks at `url`, with the defaults for everything else.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            timeout: timeout(),
            concurrency: concurrency(),
            body_len_max: body_len_max(),
            pointer: None,
            headers: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("url", &template::redacted(&self.url))
            .field("timeout", &self.timeout)
            .field("concurrency", &self.concurrency)
            .field("body_len_max", &self.body_len_max)
            .field("pointer", &self.pointer)
            .field("headers", &self.headers.keys())
            .finish()
    }
}

/// An HTTP service that answers `GET` with JSON: one question a key.
///
/// 404, 410 and 204 say that it does not have the key. 429, 408, 425 and 5xx are worth a retry,
/// other statuses are not. Redirections are not followed: what a header or a query keeps secret
/// must not travel to another host. A proxy is taken from the environment (`HTTPS_PROXY`).
///
/// # Examples
///
/// ```
/// use cache_warmer::{HttpConfig, HttpSource};
///
/// let config = HttpConfig {
///     pointer: Some("/quote".to_owned()),
///     ..HttpConfig::new("https://quotes.example.com/v1/{key}?token=SECRET")
/// };
/// assert!(!format!("{config:?}").contains("SECRET"));
/// let source = HttpSource::new(config)?;
/// # let _ = source;
/// # Ok::<(), cache_core::Error>(())
/// ```
#[derive(Debug)]
pub struct HttpSource {
    client: Client,
    template: Template,
    config: HttpConfig,
    permits: Semaphore,
}

impl HttpSource {
    /// A source that asks as `config` says. It connects when it is asked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] names the setting that does not do.
    pub fn new(config: HttpConfig) -> Result<Self> {
        let template = Template::parse(&config.url)?;
        check(&config)?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls()?)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(config.timeout.0)
            .default_headers(headers(&config)?)
            .build()
            .map_err(|e| {
                let message = "cannot set up the HTTP client".to_owned();
                Error::new(ErrorKind::Config, message)
                    .hint("look at the proxy settings of the environment")
                    .caused_by(e)
            })?;
        let permits = Semaphore::new(config.concurrency);
        Ok(Self { client, template, config, permits })
    }

    /// The body of the answer for `key`; nothing when there is none.
    async fn fetch(&self, key: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let url = self.template.url(key)?;
        let response = self.client.get(url).send().await.map_err(|e| self.no_answer(key, e))?;
        let status = response.status();
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::NO_CONTENT => Ok(None),
            StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION => {
                self.body(key, response).await.map(Some)
            }
            _ => {
                let error = self.rejected(key, status);
                Err(match pause(response.headers()) {
                    Some(pause) => error.retry_after(pause),
                    None => error,
                })
            }
        }
    }

    async fn body(&self, key: &str, mut response: Response) -> Result<Vec<u8>, SourceError> {
        let limit = self.config.body_len_max.as_u64();
        let mut body = Vec::new();
        // What the server says about the length is not relied upon.
        while let Some(chunk) = response.chunk().await.map_err(|e| self.no_answer(key, e))? {
            if (body.len() + chunk.len()) as u64 > limit {
                let message = format!("an answer above {}", self.config.body_len_max);
                return Err(self
                    .error(SourceErrorKind::TooLarge, key, &message)
                    .hint("raise `body_len_max`, or ask for less"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn value<V: DeserializeOwned>(&self, key: &str, body: &[u8]) -> Result<V, SourceError> {
        let malformed = |fault: &str| {
            self.error(SourceErrorKind::Malformed, key, fault)
                .hint("check `url`, `pointer` and the type of the cache's values")
        };
        let read = |e: serde_json::Error| malformed(&format!("an answer that cannot be read: {e}"));
        let Some(pointer) = &self.config.pointer else {
            return serde_json::from_slice(body).map_err(read);
        };
        let mut answer: Value = serde_json::from_slice(body).map_err(read)?;
        let value = answer.pointer_mut(pointer).map(Value::take);
        let value = value.ok_or_else(|| malformed(&format!("an answer without `{pointer}`")))?;
        serde_json::from_value(value).map_err(read)
    }

    fn rejected(&self, key: &str, status: StatusCode) -> SourceError {
        let hint = match status.as_u16() {
            401 | 403 | 407 => "check the credentials in `headers` or `url`",
            429 => "lower `concurrency`, or warm less often",
            300..=399 => "redirections are not followed: name their target in `url`",
            400..=499 => "check `url` and `headers`",
            _ => "the service is at fault: look there",
        };
        let kind = SourceErrorKind::Rejected { status: status.as_u16() };
        self.error(kind, key, &format!("status {status}")).hint(hint)
    }

    /// What went wrong below HTTP, without the address in it.
    fn no_answer(&self, key: &str, error: reqwest::Error) -> SourceError {
        if error.is_timeout() {
            let message = format!("no whole answer within {}", self.config.timeout);
            return self
                .error(SourceErrorKind::TimedOut, key, &message)
                .hint("look at the service, or raise `timeout`");
        }
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        self.error(SourceErrorKind::Unreachable, key, &format!("no answer: {cause}"))
            .hint("check that the service runs, and `url`")
    }

    fn error(&self, kind: SourceErrorKind, key: &str, fault: &str) -> SourceError {
        SourceError::new(kind, format!("GET {} for `{key}`: {fault}", self.template))
    }
}

#[async_trait]
impl<V: DeserializeOwned + Send + 'static> Source<V> for HttpSource {
    async fn load(&self, key: &str) -> Answer<V> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let body = self.fetch(key).await?;
        body.map(|body| self.value(key, &body).map(Item::new)).transpose()
    }

    async fn load_many(&self, keys: &[String]) -> Vec<Answer<V>> {
        load_each(self, keys, self.config.concurrency).await
    }

    fn batch_len_max(&self) -> usize {
        1
    }
}

/// What `Retry-After` says in seconds. A date there is not understood: clocks differ.
fn pause(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

fn check(config: &HttpConfig) -> Result<()> {
    let fault = if config.timeout.0.is_zero() {
        "`timeout` of the HTTP source is 0s; set it to what an answer may take"
    } else if config.concurrency == 0 {
        "`concurrency` of the HTTP source is 0; set it to at least 1"
    } else if config.concurrency > Semaphore::MAX_PERMITS {
        "`concurrency` of the HTTP source is too large; lower it"
    } else if config.body_len_max.as_u64() == 0 {
        "`body_len_max` of the HTTP source is 0B; set it to the largest answer"
    } else if config.pointer.as_ref().is_some_and(|p| !p.is_empty() && !p.starts_with('/')) {
        "`pointer` of the HTTP source does not begin with `/`; write it as in `/data/quote`"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Config, fault))
}

fn headers(config: &HttpConfig) -> Result<HeaderMap> {
    let refuse = |name: &str, what: &str| {
        let message = format!("the {what} of the header `{name}` in `headers` is not valid");
        Error::new(ErrorKind::Config, message).hint("use visible ASCII characters")
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &config.headers {
        let header: HeaderName = name.parse().map_err(|_| refuse(name, "name"))?;
        let mut value: HeaderValue = value.parse().map_err(|_| refuse(name, "value"))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// Encryption that trusts the authorities of the web.
fn tls() -> Result<ClientConfig> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    // The provider is named here, because a program that has two of them panics when none is.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(ErrorKind::Internal, "cannot set up TLS").caused_by(e))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://user:s3cret@h.example/q/{key}?token=s3cret";

    #[test]
    fn no_secret_is_printed() {
        let config = HttpConfig {
            headers: BTreeMap::from([("X-Api-Key".to_owned(), "s3cret".to_owned())]),
            ..HttpConfig::new(URL)
        };
        let shown = format!("{config:?} {:?}", HttpSource::new(config.clone()).unwrap());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("https://h.example/q/{key}?***"), "{shown}");
        let bad = HttpConfig {
            headers: BTreeMap::from([("X-Api-Key".to_owned(), "s3cret\n".to_owned())]),
            ..HttpConfig::new(URL)
        };
        let error = HttpSource::new(bad).unwrap_err();
        assert!(error.to_string().contains("the value of the header `X-Api-Key`"), "{error}");
        assert!(!format!("{error:?}").contains("s3cret"));
    }

    #[test]
    fn a_setting_out_of_range_is_named() {
        let new = || HttpConfig::new(URL);
        for (config, name) in [
            (HttpConfig { timeout: Span::secs(0), ..new() }, "timeout"),
            (HttpConfig { concurrency: 0, ..new() }, "concurrency"),
            (HttpConfig { body_len_max: ByteSize::bytes(0), ..new() }, "body_len_max"),
            (HttpConfig { pointer: Some("data".to_owned()), ..new() }, "pointer"),
        ] {
            let error = HttpSource::new(config).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn settings_have_defaults_and_no_unknown_names() {
        let config: HttpConfig =
            serde_json::from_str(&format!(r#"{{"url": "{URL}", "timeout": "2s"}}"#)).unwrap();
        assert_eq!(config, HttpConfig { timeout: Span::secs(2), ..HttpConfig::new(URL) });
        assert!(serde_json::from_str::<HttpConfig>(r#"{"url": "", "retries": 1}"#).is_err());
    }
}
