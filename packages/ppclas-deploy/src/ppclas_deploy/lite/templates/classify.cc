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
static const int kBatch = $rows;  // images that the model takes at a time; the photo is the first
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
    input->Resize({kBatch, kHeight, kWidth, 3});
    uint8_t* data = input->mutable_data<uint8_t>();
    std::fill_n(data, kBatch * kHeight * kWidth * 3, 0);
    std::copy(pixels.begin(), pixels.end(), data);
  } else {
    input->Resize({kBatch, 3, kHeight, kWidth});
    float* data = input->mutable_data<float>();
    std::fill_n(data, kBatch * 3 * kHeight * kWidth, 0.f);
    Normalize(pixels.data(), data);
  }
  predictor->Run();

  // Activation still to apply: $activation. $answer
  const float* output = predictor->GetOutput(0)->data<float>();
  const int best = std::max_element(output, output + kClasses) - output;
  std::printf("class_id: %d, output: %f\n", best, output[best]);
  return 0;
}
