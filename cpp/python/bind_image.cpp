#include "bindings.h"

namespace helip::python {
namespace {

ImageTransform make_transform(std::int64_t height, std::int64_t width, const std::string& crop,
                              const DrawRange& scale, const DrawRange& ratio,
                              const std::array<std::uint8_t, 3>& fill,
                              const std::string& interpolation, double jitter_probability,
                              double brightness, double contrast, double saturation, double hue,
                              double grayscale_probability, double blur_probability,
                              const DrawRange& blur_sigma, double flip_probability,
                              const std::string& dtype, const std::string& layout,
                              const std::array<double, 3>& mean, const std::array<double, 3>& std,
                              bool exact_decode, std::int64_t max_pixels, std::int64_t max_bytes,
                              std::int64_t resize, double max_aspect, double max_seconds) {
  ImageTransformOptions o;
  o.height = height;
  o.width = width;
  o.crop = crop_kind_from_name(crop);
  o.scale = scale;
  o.ratio = ratio;
  o.fill = fill;
  o.interpolation = interpolation_from_name(interpolation);
  o.jitter_probability = jitter_probability;
  o.brightness = brightness;
  o.contrast = contrast;
  o.saturation = saturation;
  o.hue = hue;
  o.grayscale_probability = grayscale_probability;
  o.blur_probability = blur_probability;
  o.blur_sigma = blur_sigma;
  o.flip_probability = flip_probability;
  o.dtype = dtype_from_name(dtype);
  o.layout = pixel_layout_from_name(layout);
  o.mean = mean;
  o.stddev = std;
  o.exact_decode = exact_decode;
  o.max_pixels = max_pixels;
  o.max_bytes = max_bytes;
  o.resize = resize;
  o.max_aspect = max_aspect;
  o.max_seconds = max_seconds;
  return ImageTransform(o);
}

// bfloat16 shows as uint16 bits.
py::array result_of(const ImageTransform& transform) {
  const DType dtype = transform.options().dtype;
  return py::array(py::dtype(dtype == DType::bfloat16 ? "uint16" : name_of(dtype)),
                   transform.shape());
}

ImageTransform::Scratch& scratch_of_thread() {
  static thread_local ImageTransform::Scratch scratch;
  return scratch;
}

}  // namespace

void bind_image(py::module_& module) {
  using Key = ImageTransform::Key;
  py::class_<ImageTransform>(module, "ImageTransform")
      .def(py::init(&make_transform), py::kw_only(), py::arg("height"), py::arg("width"),
           py::arg("crop"), py::arg("scale"), py::arg("ratio"), py::arg("fill"),
           py::arg("interpolation"), py::arg("jitter_probability"), py::arg("brightness"),
           py::arg("contrast"), py::arg("saturation"), py::arg("hue"),
           py::arg("grayscale_probability"), py::arg("blur_probability"), py::arg("blur_sigma"),
           py::arg("flip_probability"), py::arg("dtype"), py::arg("layout"), py::arg("mean"),
           py::arg("std"), py::arg("exact_decode"), py::arg("max_pixels"), py::arg("max_bytes"),
           py::arg("resize"), py::arg("max_aspect"), py::arg("max_seconds"))
      .def_property_readonly("shape", &ImageTransform::shape)
      .def_property_readonly("bytes", &ImageTransform::bytes)
      .def(
          "apply",
          [](const ImageTransform& self, const py::buffer& encoded, std::uint64_t seed,
             std::uint64_t epoch, std::uint64_t row, std::uint64_t view) {
            const py::buffer_info info = encoded.request();
            if (info.ndim != 1 || info.itemsize != 1 || info.strides[0] != 1) {
              throw Error(ErrorCode::invalid_argument,
                          "an encoded picture must be bytes without gaps");
            }
            py::array out = result_of(self);
            void* const data = out.mutable_data();
            const Key key{seed, epoch, row, view};
            const py::gil_scoped_release release;
            self.apply(
                {static_cast<const std::byte*>(info.ptr), static_cast<std::size_t>(info.size)}, key,
                data, scratch_of_thread());
            return out;
          },
          py::arg("encoded"), py::kw_only(), py::arg("seed"), py::arg("epoch"), py::arg("row"),
          py::arg("view"))
      .def(
          "apply_pixels",
          [](const ImageTransform& self, const Dense<std::uint8_t>& rgb, std::uint64_t seed,
             std::uint64_t epoch, std::uint64_t row, std::uint64_t view) {
            if (rgb.ndim() != 3 || rgb.shape(2) != 3) {
              throw Error(ErrorCode::invalid_argument,
                          "pixels must be uint8 [height, width, 3]; convert the picture to RGB");
            }
            py::array out = result_of(self);
            void* const data = out.mutable_data();
            const Key key{seed, epoch, row, view};
            const py::gil_scoped_release release;
            self.apply_pixels(rgb.data(), rgb.shape(0), rgb.shape(1), key, data,
                              scratch_of_thread());
            return out;
          },
          py::arg("rgb"), py::kw_only(), py::arg("seed"), py::arg("epoch"), py::arg("row"),
          py::arg("view"));
  module.def("decodes_format", &decodes_format, py::arg("format"));
}

}  // namespace helip::python
