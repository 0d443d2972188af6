//! The integrators held against closed forms: orders, increments, ensembles.

mod brownian;
mod ensembles;
mod expectation;
mod linear;
mod moments;
mod nonlinear;
mod orders;
mod step;
mod theorems;
