//! What a column can hold, and how the fields of a record become columns and come back.
//! Knows types. Knows neither SQL nor any particular record.

use super::Direction;
use crate::telemetry::Pii;
use call::CallId;

/// One value of one column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Not known, or does not apply.
    Null,
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Real(f64),
    /// Text.
    Text(String),
}

/// The kinds of columns there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers.
    Integer,
    /// Other numbers.
    Real,
    /// Text.
    Text,
}

/// A type that fits into a column.
pub trait Field: Sized {
    /// Which kind of column.
    const KIND: Kind;

    /// As it is stored.
    fn to_value(&self) -> Value;

    /// As it was stored; `None` if that makes no sense.
    fn from_value(value: &Value) -> Option<Self>;
}

impl Value {
    /// The whole number in it.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::Null | Self::Real(_) | Self::Text(_) => None,
        }
    }

    /// The text in it.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Integer(_) | Self::Real(_) => None,
        }
    }
}

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::Integer;

            fn to_value(&self) -> Value {
                // No database has unsigned integers of 64 bits; no figure of ours comes near the difference.
                Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
            }

            fn from_value(value: &Value) -> Option<Self> {
                Self::try_from(value.integer()?).ok()
            }
        }
    )*};
}

whole_numbers!(i64, u64, u32, u16);

impl Field for bool {
    const KIND: Kind = Kind::Integer;

    fn to_value(&self) -> Value {
        Value::Integer(i64::from(*self))
    }

    fn from_value(value: &Value) -> Option<Self> {
        Some(value.integer()? != 0)
    }
}

impl Field for f64 {
    const KIND: Kind = Kind::Real;

    fn to_value(&self) -> Value {
        Value::Real(*self)
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Real(value) => Some(*value),
            Value::Integer(value) => Some(*value as Self),
            Value::Null | Value::Text(_) => None,
        }
    }
}

impl Field for String {
    const KIND: Kind = Kind::Text;

    fn to_value(&self) -> Value {
        Value::Text(self.clone())
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.text().map(str::to_owned)
    }
}

impl Field for Pii<String> {
    const KIND: Kind = Kind::Text;

    fn to_value(&self) -> Value {
        Value::Text(self.expose().clone())
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.text().map(|text| Self::new(text.to_owned()))
    }
}

impl Field for CallId {
    const KIND: Kind = Kind::Text;

    fn to_value(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn from_value(value: &Value) -> Option<Self> {
        value.text()?.parse().ok()
    }
}

impl Field for Direction {
    const KIND: Kind = Kind::Text;

    fn to_value(&self) -> Value {
        Value::Text(self.name().to_owned())
    }

    fn from_value(value: &Value) -> Option<Self> {
        Self::from_name(value.text()?)
    }
}

impl<T: Field> Field for Option<T> {
    const KIND: Kind = T::KIND;

    fn to_value(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_value)
    }

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            Value::Integer(_) | Value::Real(_) | Value::Text(_) => T::from_value(value).map(Some),
        }
    }
}
