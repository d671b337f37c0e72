//! The service over a real MongoDB, fed through the real pipeline.

mod app;
mod certificates;
mod checkpoints;
mod exports;
mod hostile;
mod log;
mod proofs;
mod queries;
mod schemas;
mod settings;
mod trees;
mod verification;
