//! The values that a condition compares with, read once, and the comparison itself.

use std::net::IpAddr;

use super::arn::ArnPattern;
use super::date;
use super::keys::{Key, Keys, Value};
use super::network::Network;
use super::pattern::{Case, InvalidVariable, Language, Match, Pattern};

/// What an operator compares, without its negation: `StringNotLike` compares like `StringLike`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    Numeric(Order),
    Date(Order),
    Bool,
    Binary,
    Address,
    /// `ArnEquals` and `ArnLike` are the same.
    Arn,
}

/// How the value of the request lies to that of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The values of one condition, of which one has to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operands {
    Texts(Case, Box<[Pattern]>),
    Numbers(Order, Box<[Decimal]>),
    /// Unix milliseconds.
    Times(Order, Box<[i64]>),
    Bools(Box<[bool]>),
    Binaries(Box<[Box<[u8]>]>),
    Networks(Box<[Network]>),
    Arns(Box<[ArnPattern]>),
}

/// The value that the operator cannot compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum InvalidOperand {
    Value(String),
    Address,
    Variable(String),
}

impl Operands {
    pub(super) fn parse(
        comparison: Comparison,
        values: &[String],
        language: Language,
    ) -> Result<Operands, InvalidOperand> {
        Ok(match comparison {
            Comparison::StringEquals => Operands::Texts(Case::Sensitive, open(values, language, Pattern::exact)?),
            Comparison::StringEqualsIgnoreCase => {
                Operands::Texts(Case::Insensitive, open(values, language, Pattern::exact)?)
            }
            Comparison::StringLike => Operands::Texts(Case::Sensitive, open(values, language, Pattern::wild)?),
            Comparison::Arn => Operands::Arns(open(values, language, ArnPattern::of_condition)?),
            // Variables stand in texts and ARNs only.
            Comparison::Numeric(order) => Operands::Numbers(order, closed(values, Decimal::parse)?),
            Comparison::Date(order) => Operands::Times(order, closed(values, date::parse)?),
            Comparison::Bool => Operands::Bools(closed(values, boolean)?),
            Comparison::Binary => Operands::Binaries(closed(values, base64)?),
            Comparison::Address => {
                Operands::Networks(closed(values, Network::parse).map_err(|_| InvalidOperand::Address)?)
            }
        })
    }

    /// Whether `value`, of a request, matches one of these. One that the operator cannot read matches none.
    pub(super) fn matches(&self, value: &Value<'_>, keys: &dyn Keys) -> Match {
        match self {
            Operands::Texts(case, patterns) => {
                let text = value.text();
                Match::any(patterns.iter().map(|pattern| pattern.matches(&text, *case, keys)))
            }
            Operands::Arns(patterns) => {
                let text = value.text();
                Match::any(patterns.iter().map(|pattern| pattern.matches(&text, keys)))
            }
            Operands::Numbers(order, numbers) => one_of(numbers, number_of(value), |a, b| order.holds(a, b)),
            Operands::Times(order, times) => one_of(times, time_of(value), |a, b| order.holds(a, b)),
            Operands::Bools(bools) => one_of(bools, bool_of(value), |a, b| a == b),
            Operands::Binaries(binaries) => {
                one_of(binaries, Some(value.text()), |text, binary| text.as_bytes() == &**binary)
            }
            Operands::Networks(networks) => {
                one_of(networks, address_of(value), |address, network| network.contains(*address))
            }
        }
    }

    /// The keys that its variables name.
    pub(super) fn keys(&self) -> Box<dyn Iterator<Item = &Key> + '_> {
        match self {
            Operands::Texts(_, patterns) => Box::new(patterns.iter().flat_map(Pattern::keys)),
            Operands::Arns(patterns) => Box::new(patterns.iter().flat_map(ArnPattern::keys)),
            Operands::Numbers(..)
            | Operands::Times(..)
            | Operands::Bools(_)
            | Operands::Binaries(_)
            | Operands::Networks(_) => Box::new(std::iter::empty()),
        }
    }
}

impl Order {
    fn holds<T: PartialOrd>(self, of_request: &T, of_policy: &T) -> bool {
        match self {
            Order::Equal => of_request == of_policy,
            Order::Less => of_request < of_policy,
            Order::LessOrEqual => of_request <= of_policy,
            Order::Greater => of_request > of_policy,
            Order::GreaterOrEqual => of_request >= of_policy,
        }
    }
}

fn one_of<P, V>(of_policy: &[P], of_request: Option<V>, compare: impl Fn(&V, &P) -> bool) -> Match {
    of_request.is_some_and(|value| of_policy.iter().any(|operand| compare(&value, operand))).into()
}

fn open<P>(
    values: &[String],
    language: Language,
    read: fn(&str, Language) -> Result<P, InvalidVariable>,
) -> Result<Box<[P]>, InvalidOperand> {
    let read =
        |value: &String| read(value, language).map_err(|InvalidVariable| InvalidOperand::Variable(value.clone()));
    values.iter().map(read).collect()
}

fn closed<P>(values: &[String], read: impl Fn(&str) -> Option<P>) -> Result<Box<[P]>, InvalidOperand> {
    values.iter().map(|value| read(value).ok_or_else(|| InvalidOperand::Value(value.clone()))).collect()
}

fn number_of(value: &Value<'_>) -> Option<Decimal> {
    match value {
        Value::Number(number) => Some(Decimal::of(*number)),
        Value::Text(text) => Decimal::parse(text),
        Value::Bool(_) | Value::Time(_) | Value::Address(_) => None,
    }
}

fn time_of(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Time(milliseconds) => Some(*milliseconds),
        Value::Number(seconds) => seconds.checked_mul(1_000),
        Value::Text(text) => date::parse(text),
        Value::Bool(_) | Value::Address(_) => None,
    }
}

fn bool_of(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::Text(text) => boolean(text),
        Value::Number(_) | Value::Time(_) | Value::Address(_) => None,
    }
}

fn address_of(value: &Value<'_>) -> Option<IpAddr> {
    match value {
        Value::Address(address) => Some(*address),
        Value::Text(text) => text.parse().ok(),
        Value::Number(_) | Value::Bool(_) | Value::Time(_) => None,
    }
}

pub(super) fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// A decimal in billionths. A float would take 9007199254740993 for its neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Decimal(i128);

impl Decimal {
    const FRACTION_DIGITS: usize = 9;
    const ONE: i128 = 1_000_000_000;
    /// More than any number of 64 bits has.
    const WHOLE_DIGITS_MAX: usize = 20;

    fn of(number: i64) -> Decimal {
        Decimal(i128::from(number) * Decimal::ONE)
    }

    fn parse(text: &str) -> Option<Decimal> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number =
            |text: &str, max: usize| (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole, Decimal::WHOLE_DIGITS_MAX) || !is_number(fraction, Decimal::FRACTION_DIGITS) {
            return None;
        }
        let padded = fraction.bytes().chain(std::iter::repeat(b'0')).take(Decimal::FRACTION_DIGITS);
        let billionths = whole.bytes().chain(padded).fold(0, |sum, b| sum * 10 + i128::from(b - b'0'));
        Some(Decimal(sign * billionths))
    }
}

/// Reads the standard alphabet with padding, in its one spelling. `s3` has a crate for it, which this crate shall
/// not need for one operator.
fn base64(text: &str) -> Option<Box<[u8]>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len() / 4 * 3), 0u32, 0);
    for digit in digits.bytes() {
        let value = ALPHABET.iter().position(|letter| *letter == digit)?;
        (bits, count) = (bits << 6 | value as u32, count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // What no byte took must be zero, and padding stands for what is missing.
    (bits == 0 && count < 6).then(|| bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_compare_exactly() {
        let check = |text: &str, expect: Option<i128>| {
            assert_eq!(Decimal::parse(text).map(|decimal| decimal.0), expect, "{text}");
        };
        check("0", Some(0));
        check("10", Some(10_000_000_000));
        check("-1.5", Some(-1_500_000_000));
        check("0.000000001", Some(1));
        check("9007199254740993", Some(9_007_199_254_740_993_000_000_000));
        for text in ["", "-", ".5", "5.", "1e3", "+1", "0x1", " 1", "1,5", "1.0000000001", "123456789012345678901"] {
            check(text, None);
        }
        assert_eq!(Decimal::parse("10.0"), Some(Decimal::of(10)));
    }

    #[test]
    fn base64_has_one_spelling() {
        let check = |text: &str, expect: Option<&[u8]>| assert_eq!(base64(text).as_deref(), expect, "{text}");
        check("", Some(b""));
        check("QmluYXJ5VmFsdWVJbkJhc2U2NA==", Some(b"BinaryValueInBase64"));
        check("AAE=", Some(&[0, 1]));
        check("+/+/", Some(&[0xfb, 0xff, 0xbf]));
        for text in ["A", "AA", "AAA", "AAE", "AAF=", "AB==", "A===", "====", "AA=A", "AAA-", "AA =", "é"] {
            check(text, None);
        }
    }
}
