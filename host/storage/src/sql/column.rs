//! What goes into a statement and what comes out of a row: numbers, texts, bytes.

use super::{Result, Value};
use crate::rows::RowError;
use uuid::Uuid;

/// A row of an answer.
pub(crate) trait Columns {
    /// A number; a truth is 0 or 1.
    fn int(&self, at: usize) -> Result<i64>;
    fn text(&self, at: usize) -> Result<&str>;
    fn blob(&self, at: usize) -> Result<&[u8]>;
    fn is_null(&self, at: usize) -> Result<bool>;
}

impl dyn Columns + '_ {
    pub fn get<T: Column>(&self, at: usize) -> Result<T> {
        T::of(self, at)
    }
}

/// What a column can be read as.
pub(crate) trait Column: Sized {
    fn of(row: &(dyn Columns + '_), at: usize) -> Result<Self>;
}

impl<T: Column> Column for Option<T> {
    fn of(row: &(dyn Columns + '_), at: usize) -> Result<Self> {
        match row.is_null(at)? {
            true => Ok(None),
            false => T::of(row, at).map(Some),
        }
    }
}

impl Column for i64 {
    fn of(row: &(dyn Columns + '_), at: usize) -> Result<Self> {
        row.int(at)
    }
}

impl Column for bool {
    fn of(row: &(dyn Columns + '_), at: usize) -> Result<Self> {
        row.int(at).map(|number| number != 0)
    }
}

impl Column for u64 {
    fn of(row: &(dyn Columns + '_), at: usize) -> Result<Self> {
        unsigned(row, at)
    }
}

impl Column for u32 {
    fn of(row: &(dyn Columns + '_), at: usize) -> Result<Self> {
        unsigned(row, at)
    }
}

impl Column for usize {
    fn of(row: &(dyn Columns + '_), at: usize) -> Result<Self> {
        unsigned(row, at)
    }
}

fn unsigned<T: TryFrom<i64>>(row: &(dyn Columns + '_), at: usize) -> Result<T> {
    let number = row.int(at)?;
    T::try_from(number).map_err(|_| RowError::new(format!("{number} in column {at} is out of range")))
}

impl Column for String {
    fn of(row: &(dyn Columns + '_), at: usize) -> Result<Self> {
        row.text(at).map(str::to_owned)
    }
}

impl Column for Vec<u8> {
    fn of(row: &(dyn Columns + '_), at: usize) -> Result<Self> {
        row.blob(at).map(<[u8]>::to_vec)
    }
}

impl<const N: usize> Column for [u8; N] {
    fn of(row: &(dyn Columns + '_), at: usize) -> Result<Self> {
        let bytes = row.blob(at)?;
        <[u8; N]>::try_from(bytes).map_err(|_| RowError::new(format!("column {at} has {} bytes, not {N}", bytes.len())))
    }
}

impl Column for Uuid {
    fn of(row: &(dyn Columns + '_), at: usize) -> Result<Self> {
        <[u8; 16]>::of(row, at).map(Uuid::from_bytes)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

/// Times, limits and counts: beyond 2^63 there is none of them.
impl From<u64> for Value<'_> {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value<'_> {
    fn from(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Int(i64::from(value))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Blob(value)
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Value<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Self::Blob(value)
    }
}

impl<'a> From<&'a Uuid> for Value<'a> {
    fn from(value: &'a Uuid) -> Self {
        Self::Blob(value.as_bytes())
    }
}

impl<'a, T: Into<Self>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
