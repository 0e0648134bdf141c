// pair_style d3torch bj XC CUTOFF CN_CUTOFF [width W] [tail yes|no] [reference 2010|2024]
// pair_style d3torch bj XC converged [...]
// pair_coeff * * ELEMENT ...
//
// D3(BJ) without a neighbour list and without ghost atoms: all ranks know all atoms, each evaluates
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
  struct Settings {
    char xc[64], reference[7];
    bool tail;  // 0 in the restart files of versions without tails
    double cutoff, cn_cutoff, width;
  };

  [[noreturn]] void refuse(const std::string& what) const;  // by all ranks
  double number(const char* name, const char* text) const;
  void read_keywords(int, char**);
  void read_width(const char*);
  bool yes_or_no(const std::string& word, const char*) const;
  void check_cutoff(const std::string& name, double given) const;
  void apply_settings();
  void set_elements(int, char**);
  void allocate();
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
  Settings settings_;
  double damping_[4], host_damping_[4];  // a2 in bohr, in the host's length
  std::vector<int> numbers_;             // atomic numbers of the elements
  std::vector<char> given_;              // type pairs that LAMMPS gave to this style
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
