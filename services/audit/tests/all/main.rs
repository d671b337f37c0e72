//! The service over a real MongoDB, fed through the real pipeline.

mod app;
mod log;
mod questions;
mod schemas;
mod settings;
