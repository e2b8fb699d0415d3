//! AWS's policy language: documents, read once and compiled, and what they say of a request.
//!
//! `document` reads a policy into `statement`s; `evaluate` asks all policies that concern a request; `public` judges
//! one alone. Each element of the language has a file of its own. Nothing is allocated for a request whose policies
//! have no variables and ask for no keys that must be put together.

mod action;
mod arn;
mod caller;
mod condition;
mod date;
mod document;
mod error;
mod evaluate;
mod json;
mod keys;
mod network;
mod operand;
mod pattern;
mod principal;
mod public;
mod resource;
mod statement;

pub use caller::{Account, Caller, Session, User};
pub use document::{
    BUCKET_POLICY_BYTES_MAX, DOCUMENT_BYTES_MAX, IDENTITY_POLICY_CHARACTERS_MAX, Policy, STATEMENTS_MAX,
};
pub use error::{Fault, InvalidPolicy, Kind};
pub(crate) use evaluate::mends;
pub use evaluate::{Policies, Request, Verdict, evaluate};
pub use keys::{Key, Keys, Value, Values};
pub use principal::NamedPrincipal;
