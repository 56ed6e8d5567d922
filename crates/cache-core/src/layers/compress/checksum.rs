//! Four bytes behind a record that give it the checksum of another one.

/// The generator of CRC-32 (IEEE), its bits in the order in which this form of it shifts them.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// The four bytes behind a record of checksum `before` after which its checksum is `wanted`.
///
/// A register of this sum that takes four bytes is as if they were added to it first and it were
/// then shifted 32 times; a shift loses no bit, so it can be taken back.
pub(super) fn completion(before: u32, wanted: u32) -> [u8; 4] {
    // The sum is the register with all bits turned.
    let shifted_back = (0..32).fold(!wanted, |register, _| match register >> 31 {
        0 => register << 1,
        _ => (register ^ POLYNOMIAL) << 1 | 1,
    });
    (shifted_back ^ !before).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_completed_to_any_checksum(
            bytes in prop::collection::vec(any::<u8>(), 0..100), wanted: u32,
        ) {
            let completed = [&bytes[..], &completion(crc32fast::hash(&bytes), wanted)].concat();
            prop_assert_eq!(crc32fast::hash(&completed), wanted);
        }
    }
}
