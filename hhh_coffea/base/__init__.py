"""What every room stands on: errors, files that appear whole, arrays, kinematics, hashes. It imports no other room."""
