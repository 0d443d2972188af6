//! The integrators held against closed forms: orders, increments, ensembles.

mod brownian;
mod ensembles;
mod linear;
mod nonlinear;
mod orders;
mod step;
