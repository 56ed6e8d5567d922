//! How many bytes a value takes, without encoding it.

use serde::{
    Serialize, Serializer,
    de::value::Error,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

/// What the parts of `value` take, as serde sees them: texts and bytes their lengths, numbers their
/// sizes, and one byte for each length and each choice. About what a compact codec makes of it.
///
/// # Errors
///
/// What the value's own `Serialize` says.
pub(super) fn measure<T: Serialize + ?Sized>(value: &T) -> Result<usize, Error> {
    let mut sum = Sum(0);
    value.serialize(&mut sum)?;
    Ok(sum.0)
}

/// A serializer that keeps nothing but a sum.
struct Sum(usize);

macro_rules! numbers {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, _: $type) -> Result<(), Error> {
            self.0 += size_of::<$type>();
            Ok(())
        })*
    };
}

impl Serializer for &mut Sum {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    numbers! {
        serialize_bool: bool, serialize_char: char,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128,
        serialize_f32: f32, serialize_f64: f64
    }

    fn serialize_str(self, text: &str) -> Result<(), Error> {
        self.0 += 1 + text.len();
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Error> {
        self.0 += 1 + bytes.len();
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.0 += 1;
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.0 += 1;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), Error> {
        self.0 += 1;
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.serialize_some(value)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Error> {
        self.0 += 1;
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Error> {
        self.serialize_seq(None)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self, Error> {
        self.serialize_seq(len)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Error> {
        self.serialize_seq(None)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The parts of what has parts: each is measured like a value of its own.
macro_rules! parts {
    ($($trait:ident: $method:ident $(($name:ty))?),*) => {
        $(impl $trait for &mut Sum {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $(_: $name,)?
                value: &T,
            ) -> Result<(), Error> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field,
    SerializeStruct: serialize_field (&'static str),
    SerializeStructVariant: serialize_field (&'static str)
}

impl SerializeMap for &mut Sum {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Serialize)]
    enum Order {
        None,
        Limit(f64),
        Stop { cents: u64, note: Option<String> },
        Pair(u8, char),
    }

    #[test]
    fn each_part_counts_once() {
        assert_eq!(measure("abc").unwrap(), 4);
        assert_eq!(measure(&(1_u8, 2_u64, true)).unwrap(), 10);
        assert_eq!(measure(&vec!["a", "bc"]).unwrap(), 6);
        assert_eq!(measure(&BTreeMap::from([("ab", 1_u32)])).unwrap(), 8);
        assert_eq!(measure(&Order::None).unwrap(), 1);
        assert_eq!(measure(&Order::Limit(1.5)).unwrap(), 9);
        assert_eq!(measure(&Order::Pair(1, 'x')).unwrap(), 6);
        assert_eq!(measure(&()).unwrap(), 0);
        let note = Some("why".to_owned());
        assert_eq!(measure(&Order::Stop { cents: 1, note }).unwrap(), 14);
    }

    #[test]
    fn what_cannot_be_serialized_is_an_error() {
        struct Never;

        impl Serialize for Never {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("never"))
            }
        }

        assert_eq!(measure(&Never).unwrap_err().to_string(), "never");
    }
}
