//! On-demand mode against loads of hours: a simulated stream under its scaler, repeatable by seed.

mod on_demand;
mod scenario;
mod simulation;
