//! Text from outside: keys, namespaces, sizes, spans of time, addresses.
#![no_main]

use cache_core::{ByteSize, Namespace, ServerUrl, Span};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &str| {
    if let Ok(namespace) = Namespace::new(data) {
        assert!(!namespace.as_str().contains(':'));
        let key = namespace.key("k").expect("`k` is a key");
        assert_eq!((key.namespace(), key.text()), (namespace.as_str(), "k"));
    }
    let outer = Namespace::new("n").expect("`n` is a namespace");
    if let Ok(key) = outer.key(data) {
        assert_eq!((key.namespace(), key.text()), ("n", data));
    }
    let _ = data.parse::<ByteSize>();
    let _ = data.parse::<Span>();

    // A password between the colon and the last `@` of an address is never shown.
    let secret = format!("redis://user:s3cr3t{data}@host:6379/0");
    assert!(!ServerUrl::new(secret).to_string().contains("s3cr3t"));
});
