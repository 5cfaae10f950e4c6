//! The commands as an operator or a script meets them: the real binary, in a folder of its own.

mod failures;
mod keys;
mod place;
mod tables;
