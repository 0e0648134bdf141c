"""The silicate glass study: does dispersion help a potential, by how much, at what cost?

A melt-quench of sodium silicates with any ASE calculator (or in LAMMPS), and what is measured on
the glass: density, structure, vibrations, stiffness. The protocol is that of A. Pedone,
M. Bertani, M. Benassi, J. Chem. Theory Comput. 2025, 21, 4769, doi:10.1021/acs.jctc.5c00218.

Lengths in A, energies in eV, temperatures in K, times in fs or ps, pressures in GPa, densities in
g/cm^3, wavenumbers in cm^-1. The command ``d3torch glass`` (``cli.py``, ``potentials.py``)
knows d3torch; all else works with any calculator of ASE.
"""
