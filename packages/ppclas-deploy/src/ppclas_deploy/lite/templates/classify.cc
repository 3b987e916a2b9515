// $name: the most likely class of a photo of $height x $width RGB pixels, with Paddle-Lite.
// Usage: classify model.nb photo.rgb   (photo.rgb: height * width * 3 bytes, red first)
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include "paddle_api.h"

static const int kHeight = $height, kWidth = $width, kClasses = $classes;
static const float kMean[3] = {$mean};
static const float kStd[3] = {$std};
static const bool kPixelsInside = $pixels;  // whether the model normalises by itself

// RGB bytes [H, W, 3] to normalised planes [3, H, W].
void Normalize(const uint8_t* pixels, float* planes) {
  for (int channel = 0; channel < 3; ++channel) {
    for (int i = 0; i < kHeight * kWidth; ++i) {
      planes[channel * kHeight * kWidth + i] = (pixels[3 * i + channel] / 255.f - kMean[channel]) / kStd[channel];
    }
  }
}

int main(int argc, char** argv) {
  std::vector<uint8_t> pixels(kHeight * kWidth * 3);
  FILE* file = argc == 3 ? std::fopen(argv[2], "rb") : nullptr;
  if (file == nullptr || std::fread(pixels.data(), 1, pixels.size(), file) != pixels.size()) {
    std::fprintf(stderr, "usage: classify model.nb photo.rgb (%zu bytes)\n", pixels.size());
    return 1;
  }
  std::fclose(file);

  paddle::lite_api::MobileConfig config;
  config.set_model_from_file(argv[1]);
  config.set_threads(1);
  auto predictor = paddle::lite_api::CreatePaddlePredictor<paddle::lite_api::MobileConfig>(config);
  auto input = predictor->GetInput(0);
  if (kPixelsInside) {
    input->Resize({1, kHeight, kWidth, 3});
    std::copy(pixels.begin(), pixels.end(), input->mutable_data<uint8_t>());
  } else {
    input->Resize({1, 3, kHeight, kWidth});
    Normalize(pixels.data(), input->mutable_data<float>());
  }
  predictor->Run();

  // Activation still to apply: $activation. The largest output is the answer with and without it.
  const float* output = predictor->GetOutput(0)->data<float>();
  const int best = std::max_element(output, output + kClasses) - output;
  std::printf("class_id: %d, output: %f\n", best, output[best]);
  return 0;
}
