//! The samples of the documentation: commands are run, settings are parsed, code is compiled and
//! run against the service.

mod accounts;
mod builder;
mod clients;
mod email;
mod javascript;
mod languages;
mod operations;
mod resource;
mod settings;
