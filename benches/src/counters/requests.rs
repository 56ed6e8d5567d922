//! Requests in what a client sends, however it is cut into pieces.

/// Which requests they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Commands in RESP.
    Redis,
    /// Messages of PostgreSQL's protocol, version 3.
    Postgres,
}

impl Protocol {
    /// Where its servers listen unless they are told otherwise.
    pub(super) const fn port(self) -> u16 {
        match self {
            Self::Redis => 6379,
            Self::Postgres => 5432,
        }
    }
}

/// What is kept of a connection between two pieces.
#[derive(Debug)]
pub(super) struct Requests {
    protocol: Protocol,
    /// The beginning of a request whose end has not come.
    begun: Vec<u8>,
    /// Whether PostgreSQL's client has said who it is: messages have no type before.
    is_started: bool,
}

/// Larger than any request that is counted here, so that it is allocated once.
const BEGUN_LEN: usize = 256 << 10;

/// A request at the beginning of a text.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    len: usize,
    counts: bool,
}

impl Requests {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self { protocol, begun: Vec::with_capacity(BEGUN_LEN), is_started: false }
    }

    /// How many requests end in `piece`.
    pub(super) fn take(&mut self, piece: &[u8]) -> u64 {
        self.begun.extend_from_slice(piece);
        let (mut taken, mut count) = (0, 0);
        while let Some(Request { len, counts }) = self.first(taken) {
            taken += len;
            count += u64::from(counts);
        }
        self.begun.drain(..taken);
        count
    }

    fn first(&mut self, from: usize) -> Option<Request> {
        let text = self.begun.get(from..)?;
        match self.protocol {
            Protocol::Redis => command(text),
            Protocol::Postgres if self.is_started => message(text),
            Protocol::Postgres => {
                let (request, is_startup) = startup(text)?;
                self.is_started = is_startup;
                Some(request)
            }
        }
    }
}

/// `*2\r\n$3\r\nGET\r\n$1\r\na\r\n`
fn command(text: &[u8]) -> Option<Request> {
    let (parts, mut at) = number(text, 0)?;
    for _ in 0..parts {
        let (len, start) = number(text, at)?;
        at = start + len + 2;
    }
    (at <= text.len()).then_some(Request { len: at, counts: true })
}

/// The number of a line such as `$3\r\n`, and where the next line begins.
fn number(text: &[u8], at: usize) -> Option<(usize, usize)> {
    let line = text.get(at + 1..)?;
    let len = line.windows(2).position(|end| end == b"\r\n")?;
    let digits = std::str::from_utf8(&line[..len]).ok()?;
    Some((digits.parse().ok()?, at + 1 + len + 2))
}

/// A type, then a length that counts itself. An execution (`E`) and a simple query (`Q`) are
/// statements; the rest prepares, binds, or ends what belongs together.
fn message(text: &[u8]) -> Option<Request> {
    let len = 1 + length(text.get(1..)?)?;
    let counts = matches!(text[0], b'E' | b'Q');
    (len <= text.len()).then_some(Request { len, counts })
}

/// A length and a code; only that of a version begins the session, others ask for encryption.
fn startup(text: &[u8]) -> Option<(Request, bool)> {
    let len = length(text)?;
    let major = u16::from_be_bytes(text.get(4..6)?.try_into().ok()?);
    (len <= text.len()).then_some((Request { len, counts: false }, major == 3))
}

fn length(text: &[u8]) -> Option<usize> {
    let len = u32::from_be_bytes(text.get(..4)?.try_into().ok()?);
    usize::try_from(len).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The count of a stream, cut into pieces of each length.
    fn count(protocol: Protocol, stream: &[u8]) -> u64 {
        let counts: Vec<u64> = (1..=stream.len())
            .map(|len| {
                let mut requests = Requests::new(protocol);
                stream.chunks(len).map(|piece| requests.take(piece)).sum()
            })
            .collect();
        assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
        counts[0]
    }

    #[test]
    fn commands_are_counted_however_they_are_cut_and_whatever_they_hold() {
        let stream =
            b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$4\r\n*1\r\n\r\n$0\r\n\r\n*1\r\n$4\r\nPI";
        // A key of four bytes that looks like the beginning of a command is none.
        assert_eq!(count(Protocol::Redis, stream), 2);
    }

    #[test]
    fn statements_are_counted_and_what_is_around_them_is_not() {
        let message = |kind: u8, body: &[u8]| {
            let len = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            [&[kind][..], &len, body].concat()
        };
        let stream = [
            // A question for TLS, then the start of version 3.0.
            vec![0, 0, 0, 8, 4, 210, 22, 47],
            vec![0, 0, 0, 10, 0, 3, 0, 0, b'u', 0],
            message(b'Q', b"SELECT 1\0"),
            message(b'P', b"s\0SELECT $1\0\0\0"),
            message(b'B', b"EEE"),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ]
        .concat();
        assert_eq!(count(Protocol::Postgres, &stream), 2);
    }
}
