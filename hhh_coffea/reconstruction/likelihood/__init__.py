"""Kinematic likelihood fit."""
