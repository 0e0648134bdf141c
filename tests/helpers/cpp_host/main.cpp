// A host without Python: host LIBRARY MODULE [INPUTS]. It opens the d3torch library, loads a
// scripted D3BJ and its inputs, and prints energies and the gradient of their sum by the pair
// vectors, one number a line, all digits. Without INPUTS the module's forward takes none and
// returns a list of tensors, which are printed.
#include <dlfcn.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cstdio>

namespace {

void print_values(const at::Tensor& values) {
  const at::Tensor flat = values.detach().to(at::kDouble).contiguous();
  for (int64_t k = 0; k < flat.numel(); ++k)
    std::printf("%.17g\n", flat.const_data_ptr<double>()[k]);
}

void print_gradient(torch::jit::Module& model, const torch::jit::Module& inputs) {
  const at::Tensor vectors = inputs.attr("vectors").toTensor().requires_grad_();
  const at::Tensor energy =
      model.forward({vectors, inputs.attr("pairs"), inputs.attr("species")}).toTensor();
  const at::Tensor gradient = torch::autograd::grad({energy.sum()}, {vectors})[0];
  print_values(energy);
  print_values(gradient);
}

}  // namespace

int main(int argc, char** argv) {
  const bool called_right = argc == 3 || argc == 4;
  if (!called_right || !dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL)) {
    std::fprintf(stderr, "host: %s\n",
                 called_right ? dlerror() : "expected LIBRARY MODULE [INPUTS]");
    return 1;
  }
  torch::jit::Module model = torch::jit::load(argv[2]);
  if (argc == 4) {
    print_gradient(model, torch::jit::load(argv[3]));
  } else {
    for (const at::Tensor& values : model.forward({}).toTensorVector()) print_values(values);
  }
}
