//! Float attributes in JSON, which has no infinities and no NaN: those become strings.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A float, or a nest of options and lists of floats, as a JSON value.
pub trait JsonFloat: Sized {
    /// To JSON, exactly (up to the payload of a NaN).
    fn to_json(&self) -> Value;
    /// From JSON; `None` where the value does not fit.
    fn from_json(v: &Value) -> Option<Self>;
}

impl JsonFloat for f64 {
    fn to_json(&self) -> Value {
        if self.is_finite() { Value::from(*self) } else { Value::from(self.to_string()) }
    }
    fn from_json(v: &Value) -> Option<Self> {
        match v {
            Value::String(s) => s.parse().ok().filter(|f: &f64| !f.is_finite()),
            _ => v.as_f64(),
        }
    }
}

impl JsonFloat for f32 {
    fn to_json(&self) -> Value {
        f64::from(*self).to_json()
    }
    fn from_json(v: &Value) -> Option<Self> {
        f64::from_json(v).map(|f| f as f32)
    }
}

impl<T: JsonFloat> JsonFloat for Option<T> {
    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_json)
    }
    fn from_json(v: &Value) -> Option<Self> {
        if v.is_null() { Some(None) } else { T::from_json(v).map(Some) }
    }
}

impl<T: JsonFloat> JsonFloat for Vec<T> {
    fn to_json(&self) -> Value {
        self.iter().map(T::to_json).collect()
    }
    fn from_json(v: &Value) -> Option<Self> {
        v.as_array()?.iter().map(T::from_json).collect()
    }
}

/// For `#[serde(with)]`.
pub fn serialize<T: JsonFloat, S: Serializer>(v: &T, s: S) -> Result<S::Ok, S::Error> {
    v.to_json().serialize(s)
}

/// For `#[serde(with)]`.
pub fn deserialize<'de, T: JsonFloat, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
    let v = Value::deserialize(d)?;
    T::from_json(&v).ok_or_else(|| D::Error::custom(format!("`{v}` is not a float")))
}
