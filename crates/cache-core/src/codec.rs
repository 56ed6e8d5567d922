//! How a value becomes bytes and a value again.

mod measure;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    entry::CodecId,
    error::{Error, ErrorKind, Result},
};

/// Turns values of one type into payloads and back.
pub trait Codec<V>: fmt::Debug + Send + Sync + 'static {
    /// The id that is stored with every payload. A payload of another id is a miss, so a change of
    /// codec never misreads what the last one wrote. Choose ids of your own from 0x8000 on; 0 is
    /// taken by entries without a value ([`CodecId::ABSENT`]).
    fn id(&self) -> CodecId;

    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] when the value has no encoding.
    fn encode(&self, value: &V) -> Result<Bytes>;

    /// About how long the payload of a value would be. A cache without tiers below its near tier has
    /// what it inserts measured, and encodes nothing: so this should be much cheaper than
    /// [`encode`](Self::encode), and need not be exact.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] when the value has no encoding, as far as that is found out.
    fn measure(&self, value: &V) -> Result<usize>;

    /// Decodes a payload. The bytes come from outside: they may be anything. What is kept of them
    /// may be a slice of them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] when the bytes are no value.
    fn decode(&self, payload: &Bytes) -> Result<V>;
}

/// The id of [`Raw`], in which the cache keeps notes of its own too.
pub(crate) const RAW_ID: CodecId = CodecId(3);

/// JSON through serde: readable in every store and by every language. Id 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<V: Serialize + DeserializeOwned + 'static> Codec<V> for Json {
    fn id(&self) -> CodecId {
        CodecId(1)
    }

    fn encode(&self, value: &V) -> Result<Bytes> {
        serde_json::to_vec(value).map(Bytes::from).map_err(|e| failed::<V>("encode", "JSON", e))
    }

    fn measure(&self, value: &V) -> Result<usize> {
        measure::measure(value).map_err(|e| failed::<V>("measure", "JSON", e))
    }

    fn decode(&self, payload: &Bytes) -> Result<V> {
        serde_json::from_slice(payload).map_err(|e| failed::<V>("decode", "JSON", e))
    }
}

/// Postcard through serde: compact and fast, for values whose fields never change order. Id 2.
#[cfg(feature = "postcard")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Postcard;

#[cfg(feature = "postcard")]
impl<V: Serialize + DeserializeOwned + 'static> Codec<V> for Postcard {
    fn id(&self) -> CodecId {
        CodecId(2)
    }

    fn encode(&self, value: &V) -> Result<Bytes> {
        postcard::to_stdvec(value)
            .map(Bytes::from)
            .map_err(|e| failed::<V>("encode", "Postcard", e))
    }

    fn measure(&self, value: &V) -> Result<usize> {
        measure::measure(value).map_err(|e| failed::<V>("measure", "Postcard", e))
    }

    fn decode(&self, payload: &Bytes) -> Result<V> {
        match postcard::take_from_bytes(payload) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => Err(Error::new(
                ErrorKind::Codec,
                format!("{} bytes are left behind the Postcard value", rest.len()),
            )),
            Err(e) => Err(failed::<V>("decode", "Postcard", e)),
        }
    }
}

/// Bytes as they are. Id 3.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn id(&self) -> CodecId {
        RAW_ID
    }

    fn encode(&self, value: &Bytes) -> Result<Bytes> {
        Ok(value.clone())
    }

    fn measure(&self, value: &Bytes) -> Result<usize> {
        Ok(value.len())
    }

    fn decode(&self, payload: &Bytes) -> Result<Bytes> {
        Ok(payload.clone())
    }
}

/// A shared codec is a codec.
impl<V, C: Codec<V> + ?Sized> Codec<V> for Arc<C> {
    fn id(&self) -> CodecId {
        (**self).id()
    }

    fn encode(&self, value: &V) -> Result<Bytes> {
        (**self).encode(value)
    }

    fn measure(&self, value: &V) -> Result<usize> {
        (**self).measure(value)
    }

    fn decode(&self, payload: &Bytes) -> Result<V> {
        (**self).decode(payload)
    }
}

fn failed<V>(what: &str, codec: &str, e: impl std::error::Error + Send + Sync + 'static) -> Error {
    let name = std::any::type_name::<V>();
    Error::new(ErrorKind::Codec, format!("could not {what} a {name} as {codec}: {e}")).caused_by(e)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Quote {
        symbol: String,
        cents: u64,
    }

    fn round_trip(codec: &dyn Codec<Quote>) {
        let quote = Quote { symbol: "AAPL".to_owned(), cents: 18_750 };
        let bytes = codec.encode(&quote).unwrap();
        assert_eq!(codec.decode(&bytes).unwrap(), quote);
        let cut = bytes.slice(..bytes.len() - 1);
        for garbage in [Bytes::new(), Bytes::from_static(b"\xff\xff\xff\xff\xff"), cut] {
            assert_eq!(codec.decode(&garbage).unwrap_err().kind(), ErrorKind::Codec);
        }
        let longer = [&bytes[..], b"!"].concat().into();
        assert!(codec.decode(&longer).is_err(), "{codec:?} ignored a byte at the end");
    }

    #[test]
    fn json_round_trips_and_refuses_garbage() {
        round_trip(&Json);
    }

    #[cfg(feature = "postcard")]
    #[test]
    fn postcard_round_trips_and_refuses_garbage() {
        round_trip(&Postcard);
    }
}
