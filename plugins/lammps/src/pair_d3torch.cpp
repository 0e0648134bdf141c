#include "pair_d3torch.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "force.h"
#include "library.h"
#include "memory.h"
#include "modify.h"
#include "update.h"
#include "utils.h"

namespace LAMMPS_NS {
namespace {

// Columns of what the ranks tell each other of an atom.
enum { of_x, of_element = 3, n_columns };

// LAMMPS's order xx yy zz xy xz yz of the engine's xx xy xz yy yz zz.
constexpr int order[6] = {0, 3, 5, 1, 2, 4};

// Ghosts are not used here, but LAMMPS wants some and bins atoms by this length, A. In a hybrid
// the other styles want theirs, which are not to reach farther for this one.
constexpr double ghost_cutoff_alone = 6, ghost_cutoff_in_hybrid = 1;

}  // namespace

PairD3Torch::PairD3Torch(LAMMPS* lmp) : Pair(lmp), exclusions_(lmp) {
  const bool early = single_enable == 1 && restartinfo == 1 && reinitflag == 1,
             late = tabinner == std::sqrt(2.0);
  pair_as_compiled_ = early && ncoultablebits == 12 && ndisptablebits == 12 &&
                      late;  // what LAMMPS has just put there
  single_enable = reinitflag = 0;
  one_coeff = manybody_flag = 1;
  no_virial_fdotr_compute = 1;  // ghosts carry no forces: f.r over the atoms is not the virial
}

bool PairD3Torch::laid_out_as_compiled() const {
  const auto is = [this](const char* name, int value) {
    return lammps_extract_setting(lmp, name) == value;
  };
  return pair_as_compiled_ && is("world_rank", comm->me) && is("world_size", comm->nprocs) &&
         is("nthreads", comm->nthreads) && is("nlocal", atom->nlocal) &&
         is("ntypes", atom->ntypes) && is("dimension", domain->dimension) &&
         is("triclinic", domain->triclinic) && is("newton_pair", force->newton_pair) &&
         is("molecule_flag", atom->molecule_flag) && lammps_extract_atom(lmp, "x") == atom->x &&
         lammps_extract_atom(lmp, "type") == atom->type &&
         lammps_extract_atom(lmp, "mask") == atom->mask;
}

PairD3Torch::~PairD3Torch() {
  if (!allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairD3Torch::refuse(const std::string& what) const {
  error->all(FLERR, "pair_style d3torch: " + what);
}

// ---- before a run ----

void PairD3Torch::init_style() {
  if (!laid_out_as_compiled() || !exclusions_.laid_out_as_compiled()) refuse(another_update);
  if (domain->dimension != 3) refuse("expected dimension 3, got 2");
  check_units();
  refuse_what_asks_for_ghosts();
  const int last = d3::last_element(reference());
  for (int k = 0; k < nelements; ++k)
    if (numbers_[k] > last)
      refuse("expected elements with references of " + reference() + ", got " + elements[k]);
  given_.assign((atom->ntypes + 1) * (atom->ntypes + 1), 0);
  fill_tables();
}

// Commands that strain atoms and ghosts in a box that stays, or ask for the energy of one pair.
void PairD3Torch::refuse_what_asks_for_ghosts() const {
  constexpr char moves[] = ", which moves ghosts that D3 does not use, got one";
  if (!modify->get_compute_by_style("group/group").empty())
    refuse("expected no compute group/group, which would leave D3 out, got one");
  if (!modify->get_compute_by_style("born/matrix").empty())
    refuse(std::string("expected no compute born/matrix") + moves);
  if (!modify->get_fix_by_style("numdiff/virial").empty())
    refuse(std::string("expected no fix numdiff/virial") + moves);
}

// special_bonds weighs no pairs of a many-body style, says its documentation.
void PairD3Torch::setup() {
  if (comm->me != 0 || atom->molecular == Atom::ATOMIC) return;
  const double* factors = force->special_lj;
  if (std::any_of(factors + 1, factors + 4, [](double f) { return f != 1; }))
    error->warning(FLERR,
                   "pair_style d3torch counts all pairs in full, whatever special_bonds says");
}

void PairD3Torch::fill_tables() {
  const d3::HostUnits units =
      std::strcmp(update->unit_style, "real") ? d3::metal_units() : d3::real_units();
  tables_ = d3::host_tables(numbers_, reference(), units);
  input_.systems.n_systems = 1;
  input_.form = d3::variant_at(settings_.variant).form;
  std::copy_n(damping_, d3::most_parameters, host_damping_);
  d3::convert_damping(input_.form, settings_.s9, units, host_damping_);
  input_.damping = host_damping_;
  input_.tables = {tables_.rcov.data(),   tables_.r4r2.data(), tables_.cn_ref.data(),
                   tables_.c6_ref.data(), nelements,           tables_.n_refs,
                   tables_.radii.data()};
  input_.range = {settings_.cutoff, settings_.cn_cutoff, settings_.width, settings_.tail};
  input_.three_body = {settings_.atm_cutoff, settings_.atm_width};
  input_.threads = std::max(comm->nthreads, 1);
  input_.instruction_set = d3::InstructionSet::best;
  input_.gradients = true;
  sweeps_ = std::make_unique<d3::RankSweeps>(input_);
}

double PairD3Torch::init_one(int i, int j) {
  given_[i * (atom->ntypes + 1) + j] = given_[j * (atom->ntypes + 1) + i] = 1;
  return std::min(farthest(), force->pair == this ? ghost_cutoff_alone : ghost_cutoff_in_hybrid);
}

// How far an atom has to see.
double PairD3Torch::farthest() const {
  return std::max({settings_.cutoff, settings_.cn_cutoff, settings_.atm_cutoff});
}

// pair_style hybrid can take type pairs away, which a neighbour list would show.
void PairD3Torch::refuse_pairs_of_another_style() const {
  const int n = atom->ntypes;
  for (int i = 1; i <= n; ++i)
    for (int j = i; j <= n; ++j)
      if (map[i] >= 0 && map[j] >= 0 && !given_[i * (n + 1) + j])
        refuse("expected all pairs of its atom types, but another style has types " +
               std::to_string(i) + " and " + std::to_string(j) +
               " (use pair_style hybrid/overlay)");
}

// Coordination numbers need all pairs: an atom has them all or is not there.
void PairD3Torch::take_out_excluded_atoms() {
  const std::string rule = exclusions_.update(map);
  if (rule.empty()) return;
  refuse(
      "expected neigh_modify exclude to take atoms out of all their pairs, as exclude group "
      "NAME all does (D3 needs all pairs of the others), got exclude " +
      rule);
}

// ---- a step ----

void PairD3Torch::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  refuse_pairs_of_another_style();
  take_out_excluded_atoms();
  gather_atoms();
  choose_atoms();
  fill_box();
  const d3::LatticeError e = sweeps_->run(
      int(own_.size()), vflag_atom, [this](double* column) { share(column); },
      [this](double* numbers, int n) { sum(numbers, n); });
  if (e.kind) refuse_atom(e);
  add_results();
}

// Positions and elements of all atoms, rank by rank.
void PairD3Torch::gather_atoms() {
  own_.clear();
  sent_.clear();
  for (int i = 0; i < atom->nlocal; ++i) {
    const int element = map[atom->type[i]];
    if (element < 0 || exclusions_.take_out(i)) continue;
    own_.push_back(i);
    sent_.insert(sent_.end(), {atom->x[i][0], atom->x[i][1], atom->x[i][2], double(element)});
  }
  int n = int(own_.size());
  counts_.resize(comm->nprocs);
  starts_.assign(comm->nprocs + 1, 0);
  MPI_Allgather(&n, 1, MPI_INT, counts_.data(), 1, MPI_INT, world);
  for (int r = 0; r < comm->nprocs; ++r) starts_[r + 1] = starts_[r] + counts_[r];
  all_.resize(n_columns * size_t(starts_.back()));
  std::vector<int> counts(counts_), starts(starts_);
  for (int& c : counts) c *= n_columns;
  for (int& s : starts) s *= n_columns;
  MPI_Allgatherv(sent_.data(), n_columns * n, MPI_DOUBLE, all_.data(), counts.data(), starts.data(),
                 MPI_DOUBLE, world);
}

// Own atoms first, then those of other ranks that may be near one of them.
void PairD3Torch::choose_atoms() {
  const int first = starts_[comm->me], last = starts_[comm->me + 1], n_own = last - first;
  others_.clear();
  if (n_own > 0 && comm->nprocs > 1) {
    const d3::Surroundings near = surroundings();
    const bool all = needs_all_atoms();
    for (int k = 0; k < starts_.back(); ++k) {
      double fractional[3];
      domain->x2lamda(&all_[n_columns * size_t(k)], fractional);
      if ((k < first || k >= last) && (all || near.hold(fractional))) others_.push_back(k);
    }
  }
  const size_t n = n_own + others_.size();
  positions_.resize(3 * n);
  species_.resize(n);
  offsets_.assign({0, int64_t(n)});
  for (int k = 0; k < n_own; ++k) place(k, first + k);
  for (size_t k = 0; k < others_.size(); ++k) place(n_own + int(k), others_[k]);
}

// With a tail, a molecule has all its pairs, and a slab that is thicker than cutoff - width needs
// the heights of all atoms.
bool PairD3Torch::needs_all_atoms() {
  const int* periodic = domain->periodicity;
  const int n_periodic = periodic[0] + periodic[1] + periodic[2];
  if (!settings_.tail || n_periodic % 2) return false;
  const int open = !periodic[0] ? 0 : !periodic[1] ? 1 : 2;
  double low = HUGE_VAL, high = -HUGE_VAL;
  for (int k = 0; k < starts_.back(); ++k) {
    double fractional[3];
    domain->x2lamda(&all_[n_columns * size_t(k)], fractional);
    low = std::min(low, fractional[open]);
    high = std::max(high, fractional[open]);
  }
  const double height = farthest() / surroundings().reach[open];
  return n_periodic == 0 || (high - low) * height > settings_.cutoff - settings_.width - 1e-6;
}

void PairD3Torch::place(int to, int from) {
  const double* found = &all_[n_columns * size_t(from)];
  std::copy_n(found, 3, &positions_[3 * size_t(to)]);
  species_[to] = int64_t(found[of_element]);
}

d3::Surroundings PairD3Torch::surroundings() const {
  d3::Surroundings s;
  for (int k = 0; k < 3; ++k) {
    s.low[k] = HUGE_VAL;
    s.high[k] = -HUGE_VAL;
    s.periodic[k] = domain->periodicity[k];
  }
  for (int i : own_) {
    double fractional[3];
    domain->x2lamda(atom->x[i], fractional);
    for (int k = 0; k < 3; ++k) {
      s.low[k] = std::min(s.low[k], fractional[k]);
      s.high[k] = std::max(s.high[k], fractional[k]);
    }
  }
  const double* inverse = domain->h_inv;
  const double steepness[3] = {std::hypot(inverse[0], inverse[5], inverse[4]),
                               std::hypot(inverse[1], inverse[3], 0.0), std::abs(inverse[2])};
  for (int k = 0; k < 3; ++k) s.reach[k] = farthest() * steepness[k] + 1e-9;
  return s;
}

void PairD3Torch::fill_box() {
  const double* h = domain->h;  // xx yy zz yz xz xy
  const double rows[9] = {h[0], 0, 0, h[5], h[1], 0, h[4], h[3], h[2]};
  std::copy_n(rows, 9, cell_);
  for (int k = 0; k < 3; ++k) periodic_[k] = domain->periodicity[k];
  input_.systems.positions = positions_.data();
  input_.systems.species = species_.data();
  input_.systems.offsets = offsets_.data();
  input_.systems.cell = cell_;
  input_.systems.pbc = periodic_;
}

// The owners' values of a column for the atoms of other ranks.
void PairD3Torch::share(double* column) {
  if (comm->nprocs == 1) return;
  const int n = int(own_.size());
  column_.resize(std::max(starts_.back(), 1));
  MPI_Allgatherv(column, n, MPI_DOUBLE, column_.data(), counts_.data(), starts_.data(), MPI_DOUBLE,
                 world);
  for (size_t k = 0; k < others_.size(); ++k) column[n + k] = column_[others_[k]];
}

void PairD3Torch::sum(double* numbers, int n) {
  if (comm->nprocs == 1) return;
  summed_.resize(n);
  MPI_Allreduce(numbers, summed_.data(), n, MPI_DOUBLE, MPI_SUM, world);
  std::copy(summed_.begin(), summed_.end(), numbers);
}

void PairD3Torch::add_results() {
  double virial_sum[6] = {};
  sweeps_->add_virial_to(virial_sum);
  for (int k = 0; k < 6 && vflag_global; ++k) virial[k] -= virial_sum[order[k]];
  for (size_t k = 0; k < own_.size(); ++k) {
    const int i = own_[k];
    const double* gradient = sweeps_->gradient_of(int(k));
    for (int d = 0; d < 3; ++d) atom->f[i][d] -= gradient[d];
    if (eflag_global) eng_vdwl += sweeps_->energy_of(int(k));
    if (eflag_atom) eatom[i] += sweeps_->energy_of(int(k));
    for (int d = 0; d < 6 && vflag_atom; ++d) vatom[i][d] -= sweeps_->virial_of(int(k))[order[d]];
  }
}

void PairD3Torch::refuse_atom(const d3::LatticeError& e) const {
  const double* x = positions_.data() + 3 * e.atom;
  const std::string at =
      " at " + std::to_string(x[0]) + " " + std::to_string(x[1]) + " " + std::to_string(x[2]);
  std::string what;
  switch (e.kind) {
    case d3::LatticeError::not_finite:
      what = "expected finite positions, got an atom" + at;
      break;
    case d3::LatticeError::too_far:
      what = "expected atoms near the cell, got one" + at;
      break;
    case d3::LatticeError::same_spot:
      what = "expected every atom in a place of its own, got two" + at;
      break;
    case d3::LatticeError::too_many_triangles:
      what = "expected an atm_cutoff with fewer triangles, got " +
             std::to_string(settings_.atm_cutoff) + " angstrom";
      break;
    default:
      what = "expected a cell with a volume";
  }
  error->one(FLERR, "pair_style d3torch: " + what);  // this rank alone may know of it
}

double PairD3Torch::memory_usage() {
  return double(sizeof(double) * (sent_.capacity() + all_.capacity() + positions_.capacity() +
                                  column_.capacity()) +
                sizeof(int64_t) * species_.capacity() +
                sizeof(int) * (own_.capacity() + others_.capacity())) +
         Pair::memory_usage();
}

}  // namespace LAMMPS_NS
