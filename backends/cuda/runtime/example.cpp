// The network on a GPU, without Python, fed with zeros. README.md beside says how to build it.
#include <tvm/ffi/extra/module.h>
#include <tvm/ffi/tvm_ffi.h>

#include <cstdio>
#include <vector>
#ifndef DEVICE
#define DEVICE kDLCUDA
#endif
using namespace tvm::ffi;

int main() {
  std::vector<std::vector<int64_t>> shapes = {@SHAPES@};
  std::vector<DLDataType> types = {@TYPES@};
  Module vm = Module::LoadFromFile("./model.so")->GetFunction("vm_load_executable").value()().cast<Module>();
  vm->GetFunction("vm_initialization").value()(int(DEVICE), 0, 2, int(kDLCPU), 0, 2);
  std::vector<DLTensor> inputs(shapes.size());
  std::vector<AnyView> given{"main"};
  for (size_t i = 0; i < shapes.size(); ++i) {
    inputs[i] = {nullptr, {kDLCPU, 0}, int(shapes[i].size()), types[i], shapes[i].data(), nullptr, 0};
    inputs[i].data = aligned_alloc(64, (GetDataSize(inputs[i]) + 63) / 64 * 64);
    memset(inputs[i].data, 0, GetDataSize(inputs[i]));
    given.push_back(&inputs[i]);
  }
  Any ignored;
  vm->GetFunction("set_input").value().CallPacked(given.data(), int(given.size()), &ignored);
  vm->GetFunction("invoke_stateful").value()("main");
  Tensor first = vm->GetFunction("get_output").value()("main"@FIRST@).cast<Tensor>();
  first = Function::GetGlobalRequired("vm.builtin.to_device")(first, int(kDLCPU), 0).cast<Tensor>();
  std::printf("%lld numbers, the first %g\n", (long long)first.numel(), *static_cast<float *>(first.data_ptr()));
}
