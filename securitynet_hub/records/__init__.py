"""The record of one measurement, written once and never changed."""
