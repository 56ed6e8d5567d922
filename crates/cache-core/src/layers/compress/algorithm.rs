//! LZ4 and zstd, and what a thread keeps to run them.

use std::cell::RefCell;

use lz4_flex::block::{self as lz4, CompressTable};
use serde::{Deserialize, Serialize};
use zstd::bulk;

use crate::entry::CodecId;

/// The fastest of zstd's regular levels: a cache writes often.
const ZSTD_LEVEL: i32 = 1;

/// A payload that compresses to this many bytes or more is rare, and its buffer is not kept.
const BUFFER_LEN_KEPT: usize = 1 << 20;

/// What payloads are compressed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CompressionAlgorithm {
    /// Nothing: what others have compressed is read, and nothing is compressed.
    Off,
    /// LZ4: fast both ways.
    Lz4,
    /// zstd: smaller, and slower.
    Zstd,
}

/// How a payload is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Lz4,
    Zstd,
}

impl CompressionAlgorithm {
    pub(super) const fn method(self) -> Option<Method> {
        match self {
            Self::Off => None,
            Self::Lz4 => Some(Method::Lz4),
            Self::Zstd => Some(Method::Zstd),
        }
    }
}

impl Method {
    /// What stands for the codec of a payload that is compressed by this.
    pub(super) const fn id(self) -> CodecId {
        match self {
            Self::Lz4 => CodecId::LZ4,
            Self::Zstd => CodecId::ZSTD,
        }
    }

    pub(super) fn of(id: CodecId) -> Option<Self> {
        [Self::Lz4, Self::Zstd].into_iter().find(|method| method.id() == id)
    }

    /// Compresses `plain` and has `take` see the result, if it has at most `len_max` bytes.
    pub(super) fn compress<T>(
        self,
        plain: &[u8],
        len_max: usize,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        THREAD.with_borrow_mut(|tools| {
            let len = match self {
                Self::Lz4 => tools.lz4(plain),
                Self::Zstd => tools.zstd(plain, len_max),
            };
            let taken = len.filter(|len| *len <= len_max).map(|len| take(&tools.buffer[..len]));
            if tools.buffer.len() > BUFFER_LEN_KEPT {
                tools.buffer = Vec::new();
            }
            taken
        })
    }

    /// The `len` bytes that `packed` was made of; nothing when they are not that many, or it was
    /// made of nothing. Allocates `len` bytes.
    pub(super) fn decompress(self, packed: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut plain = vec![0; len];
        let written = match self {
            Self::Lz4 => lz4::decompress_into(packed, &mut plain).ok(),
            Self::Zstd => THREAD.with_borrow_mut(|tools| {
                let decompressor = tools.zstd_decompressor.get_or_insert_default();
                decompressor.decompress_to_buffer(packed, &mut plain[..]).ok()
            }),
        };
        (written == Some(len)).then_some(plain)
    }
}

thread_local! {
    static THREAD: RefCell<Tools> = RefCell::new(Tools::default());
}

/// What would otherwise be made anew for each payload, which takes longer than most payloads do.
#[derive(Default)]
struct Tools {
    buffer: Vec<u8>,
    lz4_table: Option<CompressTable>,
    zstd_compressor: Option<bulk::Compressor<'static>>,
    zstd_decompressor: Option<bulk::Decompressor<'static>>,
}

impl Tools {
    fn lz4(&mut self, plain: &[u8]) -> Option<usize> {
        let table = self.lz4_table.get_or_insert_with(CompressTable::small);
        let buffer = grown(&mut self.buffer, lz4::get_maximum_output_size(plain.len()));
        lz4::compress_into_with_table(plain, buffer, table).ok()
    }

    /// Gives up when `len_max` bytes do not suffice.
    fn zstd(&mut self, plain: &[u8], len_max: usize) -> Option<usize> {
        let compressor = match &mut self.zstd_compressor {
            Some(compressor) => compressor,
            none => none.insert(bulk::Compressor::new(ZSTD_LEVEL).ok()?),
        };
        compressor.compress_to_buffer(plain, grown(&mut self.buffer, len_max)).ok()
    }
}

fn grown(buffer: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    &mut buffer[..len]
}
