// $name: the most likely class of a photo, with Paddle-Lite on Android.
import android.graphics.Bitmap;
import com.baidu.paddle.lite.MobileConfig;
import com.baidu.paddle.lite.PaddlePredictor;
import com.baidu.paddle.lite.PowerMode;
import com.baidu.paddle.lite.Tensor;

public final class Classifier {
    private static final int HEIGHT = $height;
    private static final int WIDTH = $width;
    private static final int CLASSES = $classes;
    private static final int BATCH = $rows; // images that the model takes at a time; the photo is the first
    private static final float[] MEAN = {$mean};
    private static final float[] STD = {$std};
    private static final boolean PIXELS_INSIDE = $pixels; // whether the model normalises by itself

    private final PaddlePredictor predictor;

    /** modelFile: the path of model.nb in the app's files. */
    public Classifier(String modelFile) {
        MobileConfig config = new MobileConfig();
        config.setModelFromFile(modelFile);
        config.setThreads(1);
        config.setPowerMode(PowerMode.LITE_POWER_HIGH);
        predictor = PaddlePredictor.createPaddlePredictor(config);
    }

    /** The class id for a bitmap of HEIGHT x WIDTH, resized and cropped as README.md says. */
    public int classify(Bitmap bitmap) {
        int[] pixels = new int[HEIGHT * WIDTH];
        bitmap.getPixels(pixels, 0, WIDTH, 0, 0, WIDTH, HEIGHT);
        Tensor input = predictor.getInput(0);
        if (PIXELS_INSIDE) {
            input.resize(new long[] {BATCH, HEIGHT, WIDTH, 3});
            input.setData(bytes(pixels));
        } else {
            input.resize(new long[] {BATCH, 3, HEIGHT, WIDTH});
            input.setData(planes(pixels));
        }
        predictor.run();
        float[] output = predictor.getOutput(0).getFloatData();
        int best = 0;
        for (int i = 1; i < CLASSES; i++) {
            if (output[i] > output[best]) {
                best = i;
            }
        }
        return best;  // activation still to apply for a probability: $activation
    }

    /** Normalised planes [3, H, W] of packed ARGB pixels. */
    static float[] planes(int[] pixels) {
        float[] planes = new float[BATCH * 3 * pixels.length];
        for (int channel = 0; channel < 3; channel++) {
            for (int i = 0; i < pixels.length; i++) {
                int value = (pixels[i] >> (16 - 8 * channel)) & 0xff;
                planes[channel * pixels.length + i] = (value / 255f - MEAN[channel]) / STD[channel];
            }
        }
        return planes;
    }

    /** RGB bytes [H, W, 3] of packed ARGB pixels. */
    static byte[] bytes(int[] pixels) {
        byte[] bytes = new byte[BATCH * 3 * pixels.length];
        for (int i = 0; i < pixels.length; i++) {
            for (int channel = 0; channel < 3; channel++) {
                bytes[3 * i + channel] = (byte) (pixels[i] >> (16 - 8 * channel));
            }
        }
        return bytes;
    }
}
