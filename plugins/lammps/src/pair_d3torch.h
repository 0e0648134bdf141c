// pair_style d3torch zero|zerom|bj|bjm XC CUTOFF CN_CUTOFF [width W] [tail yes|no]
//     [reference 2010|2024] [s9 S] [atm_cutoff A] [atm_width A]
// pair_style d3torch zero|zerom|bj|bjm XC converged [...]
// pair_coeff * * ELEMENT ...
//
// D3 without a neighbour list and without ghost atoms: all ranks know all atoms, each evaluates
// its own by the lattice engine, which finds neighbours and images itself. Two columns, CN and
// dE/dCN, go from the owners to all between the sweeps; for a tail, sums over all atoms.
#pragma once
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "exclusions.h"
#include "pair.h"
#include "parameters.h"
#include "rank_sweeps.h"

namespace LAMMPS_NS {

// What is said where LAMMPS's classes are laid out otherwise than in the headers of the build.
constexpr char another_update[] =
    "expected the update of this LAMMPS version that it was built for, got another; build it for "
    "this LAMMPS: python -m d3torch_lammps.build --help";

class PairD3Torch : public Pair {
 public:
  explicit PairD3Torch(LAMMPS*);
  ~PairD3Torch() override;

  // Updates of one LAMMPS version may lay out their classes differently: room for a larger Pair,
  // until that is known.
  static void* operator new(size_t size) { return std::calloc(1, size + 4096); }
  static void operator delete(void* memory) { std::free(memory); }
  bool laid_out_as_compiled() const;  // LAMMPS's classes are where the headers said

  void compute(int, int) override;
  void settings(int, char**) override;
  void coeff(int, char**) override;
  void init_style() override;
  double init_one(int, int) override;
  void setup() override;
  void write_restart(FILE*) override;
  void read_restart(FILE*) override;
  void write_restart_settings(FILE*) override;
  void read_restart_settings(FILE*) override;
  double memory_usage() override;

 private:
  // As restart files have them, the last numbers only if `more` is there. Earlier versions wrote 0
  // for what they did not know, tail, variant and more; they read the reference up to `end`, and
  // refuse one with more.
  struct Settings {
    char xc[64], reference[4], more, end, variant;
    bool tail;
    double cutoff, cn_cutoff, width;
    double s9, atm_cutoff, atm_width;
  };

  [[noreturn]] void refuse(const std::string& what) const;  // by all ranks
  double number(const char* name, const char* text) const;
  void read_settings(int, char**);
  void read_keywords(int, char**);
  void read_keyword(const std::string& word, const char* given);
  bool yes_or_no(const std::string& word, const char*) const;
  void fill_in();
  std::string reference() const;
  double farthest() const;
  void check_cutoff(const std::string& name, double given) const;
  void check_width(const std::string& name, double given, const std::string& of,
                   double cutoff) const;
  void check_settings() const;
  void find_functional();
  void apply_settings();
  void set_elements(int, char**);
  void allocate();
  void check_units() const;
  void refuse_what_asks_for_ghosts() const;
  void fill_tables();
  void refuse_pairs_of_another_style() const;
  void take_out_excluded_atoms();

  void gather_atoms();
  void choose_atoms();
  bool needs_all_atoms();
  d3::Surroundings surroundings() const;
  void place(int to, int from);
  void fill_box();
  void share(double* column);
  void sum(double* numbers, int n);
  void add_results();
  [[noreturn]] void refuse_atom(const d3::LatticeError&) const;

  bool pair_as_compiled_;
  Settings settings_{};
  // In atomic units, and in those of the host with s9 behind.
  double damping_[d3::most_damping], host_damping_[d3::most_damping];
  std::vector<int> numbers_;  // atomic numbers of the elements
  std::vector<char> given_;   // type pairs that LAMMPS gave to this style
  Exclusions exclusions_;
  d3::HostTables tables_;
  d3::LatticeInput<double> input_{};  // read by sweeps_ at every step
  std::unique_ptr<d3::RankSweeps> sweeps_;

  // Of this step: own atoms; what they send; what all ranks have; the others that may be near;
  // input of the engine.
  std::vector<int> own_, counts_, starts_, others_;
  std::vector<double> sent_, all_, positions_, column_, summed_;
  std::vector<int64_t> species_, offsets_;
  double cell_[9];
  bool periodic_[3];
};

}  // namespace LAMMPS_NS
