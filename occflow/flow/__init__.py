"""Flows on ragged states: paths, times, solvers, mean velocities, closed forms. No voxel in sight.

A state is a tensor [N, C] with a sample index [N] (which sample of the batch a row belongs to). Convention:
x_t = (1 - t) x_data + t eps, t = 1 is noise, v = eps - x_data, and the average velocity over [r, t] is
u(x_t, r, t) = (x_t - x_r) / (t - r).
"""
