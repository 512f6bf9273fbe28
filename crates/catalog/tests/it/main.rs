//! On-demand mode under loads of many hours: a simulated stream and its scaler. A seed repeats a run exactly.

mod on_demand;
mod scenario;
mod simulation;
