"""Stubs that generate.sh made from the .proto files. Do not edit."""
