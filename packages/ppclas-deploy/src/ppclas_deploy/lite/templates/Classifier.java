// $name: the most likely class of a photo, with Paddle-Lite on Android.
import android.graphics.Bitmap;
import com.baidu.paddle.lite.MobileConfig;
import com.baidu.paddle.lite.PaddlePredictor;
import com.baidu.paddle.lite.PowerMode;
import com.baidu.paddle.lite.Tensor;
import java.util.Arrays;

public final class Classifier {
    public static final int HEIGHT = $height;
    public static final int WIDTH = $width;
    /**
     * How a photo gets this size: its short side is resized to this, and the middle is kept. 0: all of the photo is
     * resized, whatever that does to its aspect. -1: otherwise, as README.md says.
     */
    public static final int SHORT_SIDE = $short_side;

    private static final int CLASSES = $classes;
    private static final int BATCH = $rows; // images that the model takes at a time; the photo is the first
    private static final String ACTIVATION = "$activation"; // makes probabilities of what the model says
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
        float[] values = output(bitmap);
        int best = 0;
        for (int i = 1; i < CLASSES; i++) {
            if (values[i] > values[best]) {
                best = i;
            }
        }
        return best;
    }

    /** The probability of each class, in the order of labels.txt, for a bitmap as classify takes it. */
    public float[] probabilities(Bitmap bitmap) {
        float[] values = output(bitmap);
        if (ACTIVATION.equals("softmax")) {
            float largest = values[0];
            for (float value : values) {
                largest = Math.max(largest, value);
            }
            float sum = 0;
            for (int i = 0; i < CLASSES; i++) {
                values[i] = (float) Math.exp(values[i] - largest);
                sum += values[i];
            }
            for (int i = 0; i < CLASSES; i++) {
                values[i] /= sum;
            }
        } else if (ACTIVATION.equals("sigmoid")) {
            for (int i = 0; i < CLASSES; i++) {
                values[i] = (float) (1 / (1 + Math.exp(-values[i])));
            }
        }
        return values;
    }

    /** What the model says of the first image of the batch, before ACTIVATION. */
    private float[] output(Bitmap bitmap) {
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
        return Arrays.copyOf(predictor.getOutput(0).getFloatData(), CLASSES);
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
